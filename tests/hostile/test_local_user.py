"""What a local user, or the working directory of a command, can do to ado's processes."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from support.program import until, write_token

from app.core import programs
from app.spawner.backends.local import LocalBackend

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
    subprocess.run(programs.module("cli", *arguments), capture_output=True, timeout=120, check=False)
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
def test_a_work_directory_of_another_user_is_refused(dsn, home, arguments, kind):
    squatted = home / f"ado-work-{os.getuid()}"
    squatted.mkdir()
    if kind == "link":
        squatted.rename(home / "elsewhere")
        squatted.symlink_to("elsewhere")
    os.chown(squatted, 12345, 12345, follow_symlinks=False)
    write_token(home / "token", "ado_x")
    words = [str(home / "token") if word == "TOKEN" else word for word in arguments]
    env = {**os.environ, "TMPDIR": str(home), "ADO_DSN": dsn}
    done = subprocess.run(
        programs.module("cli", *words), env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2
    assert "belongs to another user (uid 12345)" in done.stderr
    assert "name another directory with ADO_WORK_DIR" in done.stderr


def test_a_worker_refuses_a_token_that_others_can_read(home):
    file = home / "token"
    file.write_text("ado_x")
    file.chmod(0o644)
    words = ["worker", "--url", "http://127.0.0.1:9", "--token-file", str(file), "--work-dir", str(home / "work")]
    done = subprocess.run(programs.module("cli", *words), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "(mode 0644)" in done.stderr
    assert f"chmod 600 {file}" in done.stderr


def test_a_token_is_written_for_its_owner_alone_and_never_through_a_link(dsn, home):
    file, elsewhere = home / "w.token", home / "elsewhere"
    (home / "link").symlink_to(elsewhere)

    def create(path):
        words = ["token", "create", "--role", "worker", "--worker", "w", "--dsn", dsn, "--to", str(path), "-o", "json"]
        return subprocess.run(programs.module("cli", *words), capture_output=True, text=True, timeout=120, check=False)

    made = create(file)
    assert made.returncode == 0, made.stderr
    shown = json.loads(made.stdout)
    assert "token" not in shown
    assert shown["file"] == str(file)
    assert file.stat().st_mode & 0o777 == 0o600
    token = file.read_text().strip()
    assert token.startswith("ado_")
    assert token not in made.stdout + made.stderr
    for taken in (file, home / "link", home):
        refused = create(taken)
        assert refused.returncode == 2
        assert "exists already" in refused.stderr
    assert file.read_text().strip() == token
    assert not elsewhere.exists()
    assert create(home / "none" / "token").returncode == 2
    with psycopg.connect(dsn) as connection:
        assert connection.execute("select count(*) from ado.tokens where worker_id = 'w'").fetchone() == (1,)


def test_the_home_of_a_control_plane_is_private_under_any_umask(home):
    """Root's home may be entered by everybody, because Postgres runs as another user."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("ADO_")} | {"ADO_HOME": str(home)}

    def ado(*arguments):
        command = programs.module("cli", *arguments)
        return subprocess.run(command, env=env, umask=0, capture_output=True, text=True, timeout=300, check=True)

    ado("up", "--detach")
    try:
        ado("run", "--remote", "--agent", "shell", "true")
        assert not [path for path in everything_in(home) if is_written_by_others(path)]
        assert not [path for path in home.iterdir() if path.is_file() and path.stat().st_mode & 0o077]
        assert {"token", "plane.json", "plane.lock", "plane.log", "ports"} <= {path.name for path in home.iterdir()}
    finally:
        ado("down")


def everything_in(directory):
    """Yield what other users can get to below a directory; what an ended job leaves may go meanwhile."""
    with contextlib.suppress(FileNotFoundError):
        for path in directory.iterdir():
            yield path
            if path.is_dir() and not path.is_symlink() and path.stat().st_mode & 0o001:
                yield from everything_in(path)


def is_written_by_others(path):
    with contextlib.suppress(FileNotFoundError):
        return not path.is_symlink() and path.lstat().st_mode & 0o022
    return False
