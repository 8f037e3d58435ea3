"""What rings the terminal's bell, and who hears nothing of it."""

import io

import pytest

from cli import bell


class Stream(io.TextIOWrapper):
    """A stderr that is a terminal, or is not."""

    def __init__(self, *, terminal):
        super().__init__(io.BytesIO(), "utf-8")
        self.terminal = terminal

    def isatty(self):
        return self.terminal

    def written(self):
        return self.buffer.getvalue()


@pytest.fixture
def streams(monkeypatch):
    def put(*, stdout, stderr):
        made = Stream(terminal=stdout), Stream(terminal=stderr)
        monkeypatch.setattr("sys.stdout", made[0])
        monkeypatch.setattr("sys.stderr", made[1])
        return made

    monkeypatch.setenv("TERM", "xterm")
    return put


@pytest.mark.parametrize(
    "text", ["a\x07b", "a\x1b\\b", "a\x1b]0;owned\x07", "a\x9cb", "\udc9c", "a\nb", "a\u202eb", "x" * 100_000]
)
def test_no_text_ends_the_sequence_or_begins_another_one(text):
    data = bell.ringing(text)
    assert data.startswith(b"\a\x1b]9;")
    inner = data.removeprefix(b"\a\x1b]9;").removesuffix(b"\x1b\\").decode()
    assert inner.isprintable()
    assert len(inner) <= 200


def test_the_end_of_a_task_and_a_question_are_told_by_name(streams):
    _, stderr = streams(stdout=True, stderr=True)
    bell.ring_for_end({"taskId": "task-7", "status": "failed", "message": "exit code 3"})
    bell.ring_for_question({"taskId": "task-7", "kind": "permission", "text": "use Write"})
    bell.ring_for_question({"taskId": "task-7", "kind": "text", "text": "Which port?"})
    assert stderr.written().decode().split("\a")[1:] == [
        "\x1b]9;task-7 failed: exit code 3\x1b\\",
        "\x1b]9;task-7 asks to use Write\x1b\\",
        "\x1b]9;task-7 asks: Which port?\x1b\\",
    ]


@pytest.mark.parametrize(("out", "err"), [(True, True), (True, False), (False, True), (False, False)])
def test_the_bell_is_written_to_a_terminal_alone(streams, out, err):
    stdout, stderr = streams(stdout=out, stderr=err)
    bell.ring("x")
    assert (bool(stdout.written()), bool(stderr.written())) == (out and not err, err)


def test_a_dumb_terminal_gets_only_the_bell(streams, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    _, stderr = streams(stdout=False, stderr=True)
    bell.ring("x")
    assert stderr.written() == b"\a"
