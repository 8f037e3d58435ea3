"""What Node does with the environment that gemini-cli is started with."""

import subprocess

from worker.agents.base import Run
from worker.agents.gemini_cli import GeminiCli

SAYS_MUCH_AND_EXITS = "process.stdout.write('x'.repeat(2 ** 20)); process.exit(0)"
SHOWS_OPTIONS = "console.log(process.env.NODE_OPTIONS ?? 'none')"


def run(programs, env, script):
    """Start a script of Node; return what it has written."""
    process = subprocess.Popen(
        ["node", "--eval", script], env={"PATH": programs, **env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    said, complaints = process.communicate(timeout=60)
    assert (process.returncode, complaints) == (0, b"")
    return said


def launch(programs, monkeypatch, home, **env):
    monkeypatch.setenv("PATH", programs)
    return {**env, **GeminiCli().launch(Run("hello", home, home, env=env)).env}


def test_output_before_an_exit_is_complete(programs, monkeypatch, tmp_path):
    assert len(run(programs, launch(programs, monkeypatch, tmp_path), SAYS_MUCH_AND_EXITS)) == 2**20


def test_gemini_programs_get_only_the_options_of_the_task(programs, monkeypatch, tmp_path):
    for given, shown in (({}, b"none\n"), ({"NODE_OPTIONS": "--no-warnings"}, b"--no-warnings\n")):
        assert run(programs, launch(programs, monkeypatch, tmp_path, **given), SHOWS_OPTIONS) == shown
