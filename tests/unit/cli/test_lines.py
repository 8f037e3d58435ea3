"""Events as lines."""

import base64

from cli.lines import Lines, Style


def output(data, *, job=0, stream="stdout"):
    return {"type": "output", "job": job, "attempt": 1, "stream": stream, "data": data, "at": "T"}


def written(lines, *events):
    return b"".join(data for event in events for fd, data in lines.feed(event) if fd == 1)


def test_one_job_is_copied_byte_for_byte():
    lines = Lines(Style(prefixed=False))
    raw = {**output(base64.b64encode(b"\xff\0").decode()), "encoding": "base64"}
    assert written(lines, output("a\nb"), raw, output("\x1b[2J")) == b"a\nb\xff\0\x1b[2J"


def test_a_line_is_never_torn_among_several_jobs():
    lines = Lines(Style(prefixed=True))
    text = written(
        lines, output("one ", job=0), output("two\nthr", job=1), output("more\n", job=0), output("ee\n", job=1)
    )
    assert text == b"[1] two\n[0] one more\n[1] three\n"


def test_the_last_line_without_an_end_comes_with_the_end_of_the_attempt():
    lines = Lines(Style(prefixed=True))
    assert written(lines, output("rest")) == b""
    assert written(lines, {"type": "finished", "job": 0, "attempt": 1}) == b"[0] rest\n"


def test_stderr_goes_to_stderr():
    pieces = list(Lines(Style(prefixed=True)).feed(output("e\n", stream="stderr")))
    assert pieces == [(2, b"[0] e\n")]


def test_control_sequences_are_shown_on_a_terminal_but_colours_pass():
    lines = Lines(Style(prefixed=False, safe=True))
    assert (
        written(lines, output("\x1b[31mred\x1b[0m\t\x1b]0;title\x07\r\n"))
        == b"\x1b[31mred\x1b[0m\t\\x1b]0;title\\x07\r\n"
    )


def test_what_happened_to_an_attempt_is_told_on_stderr():
    event = {"type": "requeued", "job": 2, "attempt": 1, "reason": "lost"}
    ((fd, text),) = Lines(Style(prefixed=True)).feed(event)
    assert fd == 2
    assert b"[2] attempt 1 ended (lost)" in text


def test_a_line_without_an_end_is_neither_lost_nor_joined_to_the_next_attempts():
    """As in a log of output alone, where nothing tells the end of an attempt."""
    lines = Lines(Style(prefixed=True))
    again = {**output("two"), "attempt": 2}
    assert written(lines, output("one"), again) == b"[0] one\n"
    assert [*lines.rest()] == [(1, b"[0] two\n")]
    assert [*lines.rest()] == []
