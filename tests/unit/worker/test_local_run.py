"""Running an agent here: its output goes where it belongs, and a reader that leaves ends it."""

import os
import subprocess
import sys

import pytest

COMMAND = [sys.executable, "-P", "-m", "cli", "run", "--agent", "shell"]


def run(*arguments, home, **options):
    env = {**os.environ, "ADO_HOME": str(home), "HOME": str(home)}
    return subprocess.run([*COMMAND, *arguments], env=env, cwd=home, check=False, timeout=60, **options)


def test_both_streams_keep_their_order(tmp_path):
    script = "for i in 1 2 3 4 5 6 7 8; do echo o$i; echo e$i >&2; done"
    done = run(script, home=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.stdout.split() == [f"{name}{i}".encode() for i in range(1, 9) for name in "oe"]


@pytest.mark.parametrize("workers", ["1", "3"])
def test_a_reader_that_leaves_ends_the_agent(tmp_path, workers):
    """``ado run yes | head`` ends, although the agent would write for ever."""
    env = {**os.environ, "ADO_HOME": str(tmp_path), "HOME": str(tmp_path)}
    process = subprocess.Popen([*COMMAND, "--workers", workers, "yes"], env=env, stdout=subprocess.PIPE, cwd=tmp_path)
    try:
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(30) != 0
    finally:
        process.kill()
        process.wait()


def test_events_are_read_though_nobody_is_told(tmp_path):
    script = 'i=0; while [ $i -lt 2000 ]; do echo "{}" >&$ADO_EVENTS_FD; i=$((i+1)); done; echo done'
    done = run(script, home=tmp_path, stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (0, b"done\n")


def test_a_long_script_runs_with_nothing_on_stdin(tmp_path):
    script = f"x={'a' * 300_000}\necho ${{#x}}\nread line || echo end\nexit 3"
    (tmp_path / "script").write_text(script)
    done = run("-F", "script", home=tmp_path, stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (3, b"300000\nend\n")


def test_a_long_play_runs(tmp_path):
    (tmp_path / "play").write_text('{"say": "' + "a" * 300_000 + '"}\n{"exit": 4}\n')
    command = [*COMMAND[:-1], "scripted", "-F", "play"]
    env = {**os.environ, "ADO_HOME": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run(command, env=env, cwd=tmp_path, check=False, timeout=60, stdout=subprocess.PIPE)
    assert (done.returncode, len(done.stdout)) == (4, 300_001)


def test_lines_of_several_have_their_numbers_and_nothing_that_a_terminal_obeys(tmp_path):
    script = r"printf '\033[31mred\033[2J\n'; printf 'no end' >&2"
    done = run("--workers", "2", script, home=tmp_path, capture_output=True)
    assert sorted(done.stdout.splitlines()) == [b"[0] red", b"[1] red"]
    assert sorted(done.stderr.splitlines()) == [b"[0] no end", b"[1] no end"]
    assert run(r"printf '\033[2J\377'", home=tmp_path, stdout=subprocess.PIPE).stdout == b"\033[2J\377"


def test_a_prompt_of_a_megabyte_runs_from_a_file_and_from_stdin(tmp_path):
    script = f": {'a' * (1024 * 1024 - 20)}\necho done"
    (tmp_path / "script").write_text(script)
    assert run("-F", "script", home=tmp_path, stdout=subprocess.PIPE).stdout == b"done\n"
    assert run("-F", "-", home=tmp_path, input=script.encode(), stdout=subprocess.PIPE).stdout == b"done\n"
