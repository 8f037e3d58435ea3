"""The command line when its own input or output fails: one sentence and an exit code, never a traceback."""

import os
import re
import subprocess
import sys

import pytest

PROGRAM = (sys.executable, "-P", "-m", "cli")
BAD = os.fsdecode(b"a\xffb")


def run(cluster, *arguments, redirect="", stdin=None):
    """Run a command under a shell's redirections."""
    script = f'exec "$@" {redirect}'
    return subprocess.run(
        ["/bin/sh", "-c", script, "sh", *PROGRAM, *arguments], env=cluster.client_env(), input=stdin,
        capture_output=True, timeout=90, check=False, cwd="/",
    )  # fmt: skip


@pytest.fixture(scope="module")
def ended(shared_cluster):
    """The module's cluster with a worker, and its first task, which wrote something and ended with 7."""
    shared_cluster.add_worker("w1", "--capability", "shell")
    shared_cluster.ado("run", "--remote", "--agent", "shell", "seq 1 2000; exit 7", check=7)
    return shared_cluster


COMMANDS = [
    ["attach", "task-1"],
    ["logs", "task-1"],
    ["logs", "task-1", "--raw"],
    ["tasks", "list"],
    ["tasks", "list", "-o", "json"],
    ["tasks", "show", "task-1"],
    ["workers", "list", "-o", "jsonl"],
    ["--help"],
    ["--version"],
]


@pytest.mark.parametrize("redirect", [">/dev/full", ">&-"])
def test_a_failed_write_to_stdout_is_reported(ended, redirect):
    for arguments in COMMANDS:
        done = run(ended, *arguments, redirect=redirect)
        assert b"Traceback" not in done.stderr, (arguments, done.stderr)
        assert b"Exception" not in done.stderr, (arguments, done.stderr)
        assert done.returncode == 125, (arguments, done.returncode, done.stderr)
        assert b"the output cannot be written here" in done.stderr, arguments


def test_a_closed_stdin_or_stderr_is_accepted(ended):
    for arguments in COMMANDS[3:]:
        assert run(ended, *arguments, redirect="<&-").returncode == 0, arguments
        assert run(ended, *arguments, redirect="2>&-").returncode == 0, arguments


def test_a_full_disk_while_a_task_is_watched_leaves_the_task_running(ended):
    done = run(ended, "run", "--remote", "--agent", "shell", "seq 1 100; sleep 1; exit 3", redirect=">/dev/full")
    assert done.returncode == 125
    found = re.search(r"(task-\d+) goes on; once there is room: ado attach (task-\d+)", done.stderr.decode())
    assert found[1] == found[2]
    assert ended.ado("wait", found[1]).returncode == 3


def test_a_closed_reader_is_not_an_error(ended):
    script = '"$@" | head -n 1'
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", *PROGRAM, "logs", "task-1"], env=ended.client_env(), capture_output=True,
        timeout=60, check=False, cwd="/",
    )  # fmt: skip
    assert done.stdout == b"1\n"
    assert done.stderr == b""


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--remote", "--agent", "shell", f"echo {BAD}"],
        ["run", "--remote", "--agent", "shell", "--env", f"X={BAD}", "true"],
        ["run", "--remote", "--agent", "shell", "--label", f"X={BAD}", "true"],
        ["tasks", "list", "--label", BAD],
        ["attach", BAD],
        ["context", "use", BAD],
        ["kv", "set", BAD, "1"],
        [BAD],
    ],
)
def test_an_argument_that_is_not_utf8_is_a_usage_error(shared_cluster, arguments):
    done = run(shared_cluster, *arguments)
    assert done.returncode == 2, done.stderr
    assert b"not UTF-8: " in done.stderr
    assert b"a\\xffb" in done.stderr


def test_a_prompt_on_stdin_that_is_not_utf8_is_a_usage_error(shared_cluster):
    done = run(shared_cluster, "run", "--remote", "--agent", "shell", "-", stdin=b"echo a\xffb\n")
    assert done.returncode == 2
    assert b"the prompt cannot be read" in done.stderr


def test_a_value_of_the_environment_that_is_not_utf8_is_a_usage_error(shared_cluster, monkeypatch):
    monkeypatch.setitem(shared_cluster.env, "ODD_VALUE", BAD)
    done = run(shared_cluster, "run", "--remote", "--agent", "shell", "--env", "ODD_VALUE", "true")
    assert done.returncode == 2
    assert b"ODD_VALUE: its value here is not UTF-8" in done.stderr


def test_a_prompt_from_a_file_keeps_its_carriage_returns(ended, home):
    script = home / "script"
    script.write_bytes(b"printf 'x\r\ny' | od -An -c\n")
    from_file = run(ended, "run", "--remote", "--agent", "shell", "-F", str(script))
    from_stdin = run(ended, "run", "--remote", "--agent", "shell", "-", stdin=script.read_bytes())
    assert from_file.stdout == from_stdin.stdout
    assert b"\\r" in from_file.stdout
