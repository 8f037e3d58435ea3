"""Which stdin counts, who gets it, and what becomes of a prompt with it."""

import contextlib
import os
import socket

import pytest

from cli.errors import CliError
from cli.remote import standard_input
from cli.remote.standard_input import appended, check_taken, is_piped, is_wanted


@pytest.fixture
def stdin(monkeypatch):
    """Makes a descriptor what counts as stdin."""

    def use(fd):
        monkeypatch.setattr(standard_input, "STDIN", fd)
        return fd

    return use


@contextlib.contextmanager
def pipe():
    """A pipe whose ends are closed at the end, unless the test has closed them."""
    read, write = os.pipe()
    try:
        yield read, write
    finally:
        for fd in (read, write):
            with contextlib.suppress(OSError):
                os.close(fd)


def test_a_pipe_counts_until_it_is_closed_and_read(stdin):
    with pipe() as (read, write):
        stdin(read)
        assert is_piped()
        os.write(write, b"x")
        os.close(write)
        assert is_piped()
        os.read(read, 1)
        assert not is_piped()


def test_a_socket_counts_and_the_wrong_end_of_a_pipe_does_not(stdin):
    ours, theirs = socket.socketpair()
    with ours, theirs, pipe() as (_, write):
        stdin(ours.fileno())
        assert is_piped()
        stdin(write)
        assert not is_piped()


def test_a_file_counts_up_to_its_end(stdin, tmp_path):
    (tmp_path / "file").write_bytes(b"ab")
    with (tmp_path / "file").open("rb", buffering=0) as file:
        stdin(file.fileno())
        assert is_piped()
        file.read(2)
        assert not is_piped()


def test_devices_terminals_and_closed_descriptors_do_not_count(stdin, monkeypatch):
    for path in ("/dev/null", "/dev/zero"):
        with open(path, "rb") as device:  # noqa: PTH123
            stdin(device.fileno())
            assert not is_piped()
    ours, theirs = os.openpty()
    stdin(theirs)
    assert not is_piped()
    os.close(ours)
    os.close(theirs)
    assert not is_piped()
    with pipe() as (read, _):
        stdin(read)
        monkeypatch.setattr("sys.stdin", None)
        assert not is_piped()  # what has its number now is another file


def test_only_a_single_shell_job_gets_stdin_without_an_option(stdin):
    usual = {"jobs": 1, "detach": False, "is_prompt": False}
    with pipe() as (read, _):
        stdin(read)
        assert is_wanted(None, "shell", **usual)
        assert not is_wanted(False, "shell", **usual)
        assert not is_wanted(None, "scripted", **usual)
        assert not is_wanted(None, "claude-code", **usual)
        for other in ({"jobs": 2}, {"detach": True}, {"is_prompt": True}):
            assert not is_wanted(None, "shell", **usual | other)
            with pytest.raises(CliError):
                is_wanted(True, "shell", **usual | other)
        assert not is_wanted(True, "claude-code", jobs=2, detach=True, is_prompt=False)  # it is in the prompt


@pytest.mark.parametrize("size", [0, 100_000])
def test_stdin_is_appended_to_the_prompt_of_an_ai_agent(stdin, tmp_path, size):
    (tmp_path / "file").write_text("é" * size)
    with (tmp_path / "file").open("rb") as file:
        stdin(file.fileno())
        assert appended("look at this:") == "look at this:\n\n" + "é" * size


@pytest.mark.parametrize(("data", "message"), [(b"\xff", "UTF-8"), (b"x" * (4 * 2**20 + 1), "4 MiB")])
def test_binary_and_too_large_stdin_is_refused(stdin, tmp_path, data, message):
    (tmp_path / "file").write_bytes(data)
    with (tmp_path / "file").open("rb") as file:
        stdin(file.fileno())
        with pytest.raises(CliError, match=message):
            appended("look at this:")


def test_a_task_that_an_older_server_made_without_it_is_cancelled():
    class Recorded:
        calls = ()

        def mutate(self, *call):
            self.calls += call

    client = Recorded()
    check_taken(client, {"taskId": "task-1", "stdin": True})
    assert client.calls == ()
    with pytest.raises(CliError, match="older release"):
        check_taken(client, {"taskId": "task-1"})
    assert client.calls[0] == "tasks.cancel"
