"""``ado up`` follows its options or names what differs, with its state in any directory."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.ports import reserved_port
from support.program import FAST, processes_with, until
from support.screen import Terminal


class Here:
    """Commands with a home of their own."""

    def __init__(self, home):
        self.home = Path(home)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ADO_", "CI"))}
        self.env = {**kept, **FAST, "ADO_SANDBOX": "none", "ADO_HOME": str(home)}

    def ado(self, *arguments, cwd="/", before=None, **more):
        return subprocess.run(
            [sys.executable, "-P", "-m", "cli", *arguments],
            env={**self.env, **more}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=110,
            check=False, cwd=cwd, preexec_fn=before,
        )  # fmt: skip

    def close(self):
        self.ado("down")
        until(lambda: not processes_with(str(self.home)), "every process of the home to be gone")


@pytest.fixture
def here(home):
    made = Here(home)
    yield made
    made.close()


def test_every_option_applies_in_the_background(here):
    with reserved_port() as port:
        done = here.ado("up", "--detach", "--port", str(port), "--replicas", "2", "--max-workers", "3", "-o", "json")
    assert done.returncode == 0, done.stderr
    urls = json.loads(done.stdout)["urls"]
    assert (urlsplit(urls[0]).port, len(urls)) == (port, 2)
    (spawner,) = [found for found in json.loads(done.stdout)["processes"] if found["role"] == "spawner"]
    words = Path(f"/proc/{spawner['pid']}/cmdline").read_bytes().split(b"\0")
    assert words[words.index(b"--max") + 1] == b"3"
    again = here.ado("up", "--detach", "--replicas", "2")
    assert again.returncode == 0, again.stderr
    other = here.ado(
        "up", "--detach", "--port", "1", "--max-workers", "5", ADO_DSN="postgresql://me:secret@db.example/x"
    )
    assert other.returncode == 1
    told, step = other.stderr.splitlines()[-2:]  # after a word about the dashboard, where it is not built
    assert f"--port {port} (asked for 1)" in told
    assert "--max-workers 3 (asked for 5)" in told
    assert "the database of its own (asked for " in told
    assert "db.example" in told
    assert "--replicas" not in told
    assert "secret" not in told
    assert step.endswith("ado down && ado up --detach --replicas 2 --port 1 --max-workers 5")
    foreground = here.ado("up", "--max-workers", "5")
    assert (foreground.returncode, "--max-workers 3 (asked for 5)" in foreground.stderr) == (1, True)


STEPS = [
    "creating the database",
    "creating the database's roles",
    "starting the database",
    "applying migration 1 of ",
    "starting the API and the spawner",
]


@pytest.mark.parametrize("command", [["up", "--detach"], ["run", "--remote", "--agent", "shell", "true"]])
def test_a_terminal_shows_the_steps_of_the_first_start_and_clears_them(here, command):
    with Terminal(command, here.env, columns=100) as terminal:
        assert terminal.end() == 0, terminal.text()
        rows = [row.partition("\r")[0] for row in terminal.written.decode().split("\r\x1b[K")]
    shown = [row.removeprefix("ado: ") for row in rows]
    seen = [step for step in STEPS if any(row.startswith(step) for row in shown)]
    assert seen == STEPS, rows
    assert not any(step in terminal.text() for step in STEPS)
    assert not (here.home / "plane.step").exists()


def test_a_terminal_shows_the_steps_of_a_start_in_the_foreground(here):
    with Terminal(["up"], here.env, columns=100) as terminal:
        terminal.until("ado: ready at http://")
        assert all(f"\x1b[Kado: {step}".encode() in terminal.written for step in STEPS)
        assert not any(step in terminal.text() for step in STEPS)
        here.ado("down")
        assert terminal.end() == 0


def test_without_a_terminal_the_first_start_is_one_line_and_no_steps(here):
    done = here.ado("up", "--detach")
    assert "\x1b" not in done.stderr
    assert [line for line in done.stderr.splitlines() if "database" in line or "migration" in line] == [
        "ado: the first start creates the database, which takes a few seconds"
    ]


@pytest.mark.parametrize("detach", [["--detach"], []])
def test_a_port_in_use_is_named_with_the_next_step(here, detach):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        done = here.ado("up", *detach, "--port", str(port))
    assert done.returncode == 125
    assert done.stderr.splitlines()[-2:] == [
        f"ado: cannot listen on port {port}: Address already in use",
        "ado: choose another --port; ports below 1024 need rights of their own",
    ]


def test_a_home_with_a_special_or_long_name_works(home):
    """A socket's path has 107 bytes, libpq decodes %, and a command line divides at blanks."""
    odd = home / ("with blanks % %20 and 'quotes' \" ü " + "long " * 20)
    odd.mkdir(mode=0o755)
    here = Here(odd)
    try:
        done = here.ado("run", "--remote", "--agent", "shell", "echo works", LC_ALL="C", TMPDIR="/nowhere")
        assert (done.returncode, done.stdout) == (0, "works\n"), done.stderr
        assert here.ado("down").returncode == 0
    finally:
        here.close()


def test_a_relative_home_is_resolved_once(home):
    here = Here(home)
    here.env["ADO_HOME"] = "state"
    try:
        done = here.ado("up", "--detach", cwd=home)
        assert done.returncode == 0, done.stderr
        assert here.ado("status", cwd=home).returncode == 0
        assert (home / "state" / "plane.json").exists()
        assert here.ado("down", cwd=home).returncode == 0
    finally:
        here.close()


def make_file(path):
    path.write_text("")


def make_dangling(path):
    path.symlink_to(path.parent / "nowhere" / "at-all")


def make_below_a_file(path):
    path.parent.rmdir()
    path.parent.write_text("")


@pytest.mark.parametrize("command", [["up", "--detach"], ["up"], ["run", "--remote", "--agent", "shell", "true"]])
@pytest.mark.parametrize("make", [make_file, make_dangling, make_below_a_file])
def test_an_unusable_home_is_an_error_with_a_next_step(tmp_path, make, command):
    place = tmp_path / "place" / "home"
    place.parent.mkdir()
    make(place)
    done = Here(place).ado(*command)
    assert done.returncode == 2
    reason, step = done.stderr.splitlines()
    assert str(place) in reason
    assert "ADO_HOME" in step


def test_a_read_only_home_is_an_error_with_a_next_step(tmp_path):
    """As root the mode does not matter, so there /proc is the example."""
    place = Path("/proc/self") if os.geteuid() == 0 else tmp_path / "home"
    if place.parent == tmp_path:
        place.mkdir(mode=0o500)
    done = Here(place).ado("up", "--detach")
    assert done.returncode == 2, done.stderr
    assert "ADO_HOME" in done.stderr.splitlines()[-1]


def test_without_a_home_the_variables_are_named():
    """A user whom the system does not know, as containers have them."""
    code = (
        "import os, pwd, sys\n"
        "del os.environ['HOME']\n"
        "def unknown(uid): raise KeyError(uid)\n"
        "pwd.getpwuid, os.geteuid = unknown, lambda: 4242\n"
        "sys.argv[1:] = ['status']\n"
        "from cli.__main__ import main\n"
        "main()\n"
    )
    env = {"PATH": os.defpath, "HOME": "/"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env=env, capture_output=True, text=True, timeout=60, check=False, cwd="/"
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines() == [
        "ado: no home directory is known for this user",
        "ado: set HOME, or ADO_HOME to a directory of your own",
    ]


def limited_files():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


def test_a_full_disk_is_reported(here):
    done = here.ado("up", "--detach", before=limited_files)
    assert done.returncode == 125, done.stderr
    reason, step = done.stderr.splitlines()[-2:]
    assert "disk is full" in reason or "too large" in reason.lower()
    assert step.startswith("ado: ")
    assert here.ado("up", "--detach").returncode == 0, "what was begun is no obstacle"
