"""Events as lines."""

import base64
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.render.lines import LastLines, Lines, Style, note

TERMINALS = frozenset({1, 2})
_ERASE = b"\r\x1b[K"


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


def test_an_unfinished_last_line_is_shown_at_the_end_of_the_attempt():
    lines = Lines(Style(prefixed=True))
    assert written(lines, output("rest")) == b""
    assert written(lines, {"type": "finished", "job": 0, "attempt": 1}) == b"[0] rest\n"


def test_stderr_goes_to_stderr():
    pieces = list(Lines(Style(prefixed=True)).feed(output("e\n", stream="stderr")))
    assert pieces == [(2, b"[0] e\n")]


def test_control_sequences_are_dropped_on_a_terminal_but_colours_pass():
    lines = Lines(Style(prefixed=False, terminals=TERMINALS, coloured=True))
    assert written(lines, output("\x1b[31mred\x1b[0m\t\x1b]0;title\x07\r\n")) == b"\x1b[31mred\x1b[0m\t\r\n"


def test_colours_are_dropped_where_none_are_wanted():
    lines = Lines(Style(prefixed=False, terminals=TERMINALS))
    assert written(lines, output("\x1b[31mred\x1b[0m\x1b[K\n")) == b"red\x1b[K\n"


def test_lines_of_several_jobs_hold_no_sequences_without_a_terminal():
    lines = Lines(Style(prefixed=True))
    raw = {**output(base64.b64encode(b"\x1b[31m\xffred\x1b[0m\x1b[K\n").decode()), "encoding": "base64"}
    assert written(lines, raw) == b"[0] \xffred\n"


def test_a_dumb_terminal_gets_each_state_of_a_rewritten_line_as_a_line():
    lines = Lines(Style(prefixed=True, terminals=TERMINALS, dumb=True))
    events = (output("1 %\r\x1b[K2 %\n"), output("2 %\r3 %\n", job=1))
    assert written(lines, *events) == b"[0] 1 %\n[0] 2 %\n[1] 2 %\n[1] 3 %\n"


def test_stderr_is_filtered_on_a_terminal_when_stdout_is_a_file():
    lines = Lines(Style(prefixed=False, terminals=frozenset({2})))
    assert [*lines.feed(output("\x1b[2Ja\n", stream="stderr"))] == [(2, b"a\n")]
    assert [*lines.feed(output("\x1b[2Ja\n"))] == [(1, b"\x1b[2Ja\n")]


def test_events_of_an_attempt_are_reported_on_stderr():
    event = {"type": "requeued", "job": 2, "attempt": 1, "reason": "lost"}
    ((fd, text),) = Lines(Style(prefixed=True)).feed(event)
    assert fd == 2
    assert b"[2] attempt 1 ended (lost)" in text


@pytest.mark.parametrize(
    ("jobs", "said"),
    [
        ([12], "job 12 is queued again"),
        ([1, 2], "jobs 1, 2 are queued again"),
        ([*range(6)], "6 jobs are queued again"),
    ],
)
def test_a_retry_names_a_few_jobs_and_counts_many(jobs, said):
    assert note({"type": "retried", "job": None, "jobs": jobs}) == f"ado: {said}"


def test_messages_of_ado_are_wrapped_only_on_a_terminal():
    event = {"type": "progress", "job": 0, "message": "one two three; four five six"}
    style = Style(prefixed=True, terminals=TERMINALS, columns=lambda: 20)
    said = b"".join(text for _, text in Lines(style).feed(event))
    assert said == b"ado: [0] one two\n  three; four five\n  six\n"
    (piece,) = Lines(Style(prefixed=True, columns=lambda: 20)).feed(event)
    assert piece == (2, b"ado: [0] one two three; four five six\n")


def test_a_line_without_an_end_is_neither_lost_nor_joined_to_the_next_attempts():
    """As in a log of output alone, where no event marks the end of an attempt."""
    lines = Lines(Style(prefixed=True))
    again = {**output("two"), "attempt": 2}
    assert written(lines, output("one"), again) == b"[0] one\n"
    assert [*lines.rest()] == [(1, b"[0] two\n")]
    assert [*lines.rest()] == []


def pieces(style, *events):
    """Return what is written for events and at the end, as one text."""
    lines = Lines(style)
    return b"".join(data for event in events for _, data in lines.feed(event)) + b"".join(
        data for _, data in lines.rest()
    )


@pytest.mark.parametrize("cut", range(1, 9))
def test_a_colour_that_is_cut_in_two_reaches_a_terminal_whole(cut):
    text = "A\x1b[1;31mred"
    style = Style(prefixed=False, terminals=TERMINALS, coloured=True)
    assert pieces(style, output(text[:cut]), output(text[cut:])) == text.encode() + b"\x1b[0m"


def test_a_colour_waits_for_its_rest_through_the_other_streams_output():
    style = Style(prefixed=False, terminals=TERMINALS, coloured=True)
    got = pieces(style, output("\x1b[3"), output("err", stream="stderr"), output("1mred"))
    assert got == b"err\x1b[31mred\x1b[0m"


def test_the_beginning_of_a_sequence_at_the_end_is_dropped():
    assert pieces(Style(prefixed=False, terminals=TERMINALS), output("end\x1b[3")) == b"end"


def test_a_last_line_without_an_end_has_its_time():
    style = Style(prefixed=False, timestamps=True)
    assert pieces(style, output("a\nb")) == b"T a\nT b\n"


def test_progress_is_shown_while_it_is_written_and_keeps_its_prefix():
    lines = Lines(Style(prefixed=True))
    assert written(lines, output("\rprogress 1%")) == b""
    assert written(lines, output("\rprogress 2%")) == b"[0] progress 1%\n"
    assert written(lines, output("\rdone\n")) == b"[0] progress 2%\n[0] done\n"


def test_on_a_terminal_progress_is_rewritten_in_its_place():
    lines = Lines(Style(prefixed=True, terminals=TERMINALS))
    assert written(lines, output("10%\r")) == b"\r\x1b[K[0] 10%"
    assert written(lines, output("20%\r")) == b"\r\x1b[K[0] 20%"
    assert written(lines, output("other\n", job=1)) == b"\r\x1b[K[1] other\n\r\x1b[K[0] 20%"
    assert written(lines, output("30%\r")) == b"\r\x1b[K[0] 30%"
    assert written(lines, output("done\n")) == b"\r\x1b[K[0] done\n"


def test_progress_of_several_jobs_stands_side_by_side():
    lines = Lines(Style(prefixed=True, terminals=TERMINALS))
    assert written(lines, output("10%\r")) == b"\r\x1b[K[0] 10%"
    assert written(lines, output("45%\r", job=2)) == b"\r\x1b[K[0] 10%  [2] 45%"
    assert written(lines, output("20%\r")) == b"\r\x1b[K[0] 20%  [2] 45%"
    assert written(lines, output("\n")) == b"\r\x1b[K[0] 20%\n\r\x1b[K[2] 45%"


def test_progress_uses_at_most_one_row():
    lines = Lines(Style(prefixed=True, terminals=TERMINALS, columns=lambda: 20))
    assert written(lines, output("x" * 100 + "\r")) == b"\r\x1b[K[0] " + b"x" * 15
    many = [output(f"{job}%\r", job=job) for job in range(1, 9)]
    assert written(lines, *many).split(_ERASE)[-1] == b"[0] xxxxxxxxxxx  +8"


def test_a_line_of_any_width_is_printed_when_it_ends():
    lines = Lines(Style(prefixed=True, terminals=TERMINALS, columns=lambda: 20))
    assert written(lines, output("a\r" + "x" * 100 + "\n")) == b"[0] " + b"x" * 100 + b"\n"


def test_erase_line_removes_the_rest_of_a_longer_line():
    lines = Lines(Style(prefixed=True, terminals=TERMINALS))
    assert written(lines, output("100 files\r\x1b[Kdone\n")) == b"[0] done\n"
    assert written(lines, output("100 files\x1b[2K\rdone\n")) == b"[0] done\n"
    assert written(lines, output("100 files\rdone\n")) == b"[0] donefiles\n"


def test_a_colour_never_leaks_into_the_lines_of_another_job():
    lines = Lines(Style(prefixed=True, terminals=TERMINALS, coloured=True))
    assert written(lines, output("\x1b[31mred\n")).endswith(b" \x1b[31mred\x1b[0m\n")
    assert written(lines, output("plain\n", job=1)).endswith(b"[1]\x1b[0m plain\n")
    assert written(lines, output("still red\n")).endswith(b" \x1b[31mstill red\x1b[0m\n")


def test_a_message_of_ado_has_its_own_row_without_colours_of_a_job():
    lines = Lines(Style(prefixed=False, terminals=TERMINALS, coloured=True))
    said = {"type": "cancel_requested", "job": None, "reason": None}
    shown = b"".join(data for event in (output("\x1b[31mred"), said, output("on")) for _, data in lines.feed(event))
    assert shown == b"\x1b[31mred\x1b[0m\n\x1b[2mado: cancelled\x1b[0m\n\x1b[31mon"


@given(st.text(alphabet="ab\r\n", max_size=30), st.lists(st.integers(0, 30), max_size=5))
def test_no_cut_breaks_the_rendering_on_a_terminal(text, cuts):
    style = Style(prefixed=True, terminals=TERMINALS)
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    parts = [text[low:high] for low, high in itertools.pairwise(edges)]
    shown = pieces(style, *(output(part) for part in parts))
    assert shown.count(b"\n") >= text.count("\n")


@given(st.text(alphabet="ab\r\n", max_size=30), st.lists(st.integers(0, 30), max_size=5))
def test_the_lines_do_not_depend_on_how_the_output_was_cut(text, cuts):
    style = Style(prefixed=True)
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    parts = [text[low:high] for low, high in itertools.pairwise(edges)]
    assert pieces(style, *(output(part) for part in parts)) == pieces(style, output(text))


def test_an_end_of_line_of_two_bytes_is_one_end_of_line():
    style = Style(prefixed=True)
    assert pieces(style, output("a\r"), output("\nb\r\n")) == b"[0] a\r\n[0] b\r\n"


def test_a_carriage_return_alone_shows_nothing():
    for style in (Style(prefixed=True, terminals=TERMINALS), Style(prefixed=True)):
        assert written(Lines(style), output("\r"), output("\r")) == b""


def test_reading_the_last_lines_takes_linear_time():
    """Joined again at each piece, these 20 MB would be copied ten thousand times over and run into the time limit."""
    kept = LastLines(1)
    kept.add((1, b"x" * 1000) for _ in range(20_000))
    kept.add([(1, b"\n")])
    assert kept.pieces() == [(1, b"x" * 20_000_000 + b"\n")]


@pytest.mark.parametrize("terminals", [frozenset(), TERMINALS])
def test_each_line_of_a_setup_or_check_has_its_name_and_ends_before_other_output(terminals):
    lines = Lines(Style(prefixed=False, terminals=terminals))
    setup, check = (output("one\ntw", stream="stderr") | {"source": source} for source in ("setup", "check"))
    pieces = [piece for event in (setup, output("mine\n"), check) for piece in lines.feed(event)]
    assert [*pieces, *lines.rest()] == [
        (2, b"setup: one\n"),
        (2, b"setup: tw\n"),
        (1, b"mine\n"),
        (2, b"check: one\n"),
        (2, b"check: tw\n"),
    ]


def test_a_check_is_one_line_that_says_how_it_ended():
    event = {"type": "check", "job": 0, "attempt": 1, "at": "T", "command": "npm test", "try": 2, "seconds": 1.5}
    shown = [list(Lines(Style(prefixed=False)).feed({**event, "exitCode": code})) for code in (0, 7)]
    assert shown == [
        [(2, b"ado: [0] check 'npm test' passed (try 2, 1.5 s)\n")],
        [(2, b"ado: [0] check 'npm test' failed with exit code 7 (try 2, 1.5 s)\n")],
    ]


def test_a_limit_is_one_line_that_says_until_when():
    event = {"type": "rate_limited", "job": 0, "attempt": 1, "agent": "codex", "until": "2026-01-01T12:00:00Z"}
    line = "ado: [0] the model's service tells codex to wait until 2026-01-01T12:00:00Z"
    assert note({**event, "seconds": 60}) == line
    assert note({**event, "seconds": 60, "credential": "OPENAI_API_KEY_2"}) == f"{line} (credential OPENAI_API_KEY_2)"
    released = {"type": "released", "job": 0, "attempt": 1, "reason": "rate_limit"}
    assert note(released).endswith("was handed back (rate_limit); the job goes on once the limit is over")
    assert note({**released, "paused": True}).endswith("; the job is paused")
