"""What a local user, or the directory in which somebody runs a command, can do to ado's processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.program import until

from app import program
from app.control.backends.local import LocalBackend

MODULES = (
    "cli",
    "app",
    "worker",
    "db",
    "msgspec",
    "orjson",
    "json",
    "asyncio",
    "sitecustomize",
    "usercustomize",
    "pip",
)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A working directory whose Python modules and programs say in a file that they ran; return both."""
    directory, ran = tmp_path / "trap", tmp_path / "ran"
    for name in MODULES:
        (directory / name).mkdir(parents=True)
        (directory / name / "__init__.py").write_text(f"open({str(ran)!r}, 'a').write({name!r} + ' ')\n")
    (directory / "startup.py").write_text(f"open({str(ran)!r}, 'a').write('startup ')\n")
    for name in ("git", "rm", "postgres", "claude", "sh"):
        (directory / name).write_text(f"#!/bin/sh\necho {name} >>{ran}\nexit 1\n")
        (directory / name).chmod(0o755)
    monkeypatch.chdir(directory)
    monkeypatch.setenv("PYTHONPATH", f":{directory}")
    monkeypatch.setenv("PYTHONSTARTUP", str(directory / "startup.py"))
    monkeypatch.setenv("PYTHONUSERBASE", str(directory))
    monkeypatch.setenv("PATH", f".::{os.environ['PATH']}")
    monkeypatch.setenv("ADO_HOME", str(tmp_path / "home"))
    return directory, ran


def test_a_spawners_worker_imports_nothing_of_its_working_directory(trap, tmp_path):
    _, ran = trap
    local = LocalBackend(
        urls=["http://127.0.0.1:9"],
        capabilities=["secret:NO_SUCH"],
        labels={},
        work_dir=tmp_path / "work",
        lifeline=None,
    )
    local.start("worker-1", "ado_x")
    (gone,) = until(local.ended, "the worker to say that it holds no such secret")
    assert gone.code == 2  # it was read and refused, so everything was imported by then
    assert not ran.exists(), ran.read_text()


@pytest.mark.parametrize(
    "arguments",
    [["--version"], ["run", "--agent", "shell", "true"], ["run", "--agent", "scripted", '{"say": "x"}'], ["doctor"]],
)
def test_commands_import_and_run_nothing_of_their_working_directory(trap, arguments):
    _, ran = trap
    subprocess.run(program.module("cli", *arguments), capture_output=True, timeout=120, check=False)
    assert not ran.exists(), ran.read_text()


def test_the_starter_in_a_checkout_imports_nothing_of_the_working_directory(trap):
    _, ran = trap
    env = {**os.environ, "ADO_VENV": str(Path(sys.executable).parents[1])}
    done = subprocess.run(
        [ROOT / "ado", "--version"], env=env, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not ran.exists(), ran.read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can make directories of another user")
@pytest.mark.parametrize("kind", ["directory", "link"])
@pytest.mark.parametrize("arguments", [["worker", "--url", "http://127.0.0.1:9", "--token-file", "TOKEN"], ["spawner"]])
def test_a_work_directory_that_somebody_else_made_first_is_refused(dsn, home, arguments, kind):
    squatted = home / f"ado-work-{os.getuid()}"
    squatted.mkdir()
    if kind == "link":
        squatted.rename(home / "elsewhere")
        squatted.symlink_to("elsewhere")
    os.chown(squatted, 12345, 12345, follow_symlinks=False)
    (home / "token").write_text("ado_x")
    words = [str(home / "token") if word == "TOKEN" else word for word in arguments]
    env = {**os.environ, "TMPDIR": str(home), "ADO_DSN": dsn}
    done = subprocess.run(
        program.module("cli", *words), env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2
    assert "belongs to another user (uid 12345)" in done.stderr
    assert "name another directory with ADO_WORK_DIR" in done.stderr
