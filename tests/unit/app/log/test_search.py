"""Which events of a log a text is found in."""

import itertools
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.log.search import TextSearch
from db.model import EventRow

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def output(seq, data, *, job=0, attempt=1, stream="stdout"):
    return EventRow(1, seq, job, attempt, "output", stream, NOW, NOW, data, None)


def other(seq, **body):
    return EventRow(1, seq, 0, 1, "agent", None, NOW, NOW, None, orjson.dumps(body).decode())


def found(text, *events):
    return [(hit.event.seq, hit.line) for hit in TextSearch(text).hits(events)]


def test_a_line_of_output_is_found_in_either_case():
    events = [output(1, b"first\nAn ERROR here\r\nlast\n"), output(2, b"nothing")]
    assert found("error", *events) == [(1, "An ERROR here")]
    assert found("An eRRor", *events) == [(1, "An ERROR here")]


def test_an_event_is_one_hit():
    assert found("a", output(1, b"aaa\naaa")) == [(1, "aaa")]


def test_a_text_that_is_split_is_found_where_it_ends():
    assert found("needle", output(1, b"a nee"), output(2, b"dl"), output(3, b"e b"), output(4, b"dle")) == [
        (3, "needle b")
    ]


def test_streams_jobs_and_attempts_do_not_run_into_each_other():
    events = [
        output(1, b"nee"), output(2, b"dle", stream="stderr"), output(3, b"dle", job=1), output(4, b"dle", attempt=2),
        output(5, b"dle"),
    ]  # fmt: skip
    assert found("needle", *events) == [(5, "needle")]


def test_words_of_agents_are_found_and_names_of_members_are_not():
    events = [other(1, event="text", text='say "hello"\nthen'), other(2, event="tool", input={"list": ["x", "Hello"]})]
    assert found("hello", *events) == [(1, 'say "hello"'), (2, "Hello")]
    assert found('"HELLO"', *events) == [(1, 'say "hello"')]
    assert found("event", *events) == found('"list"', *events) == []
    assert found("text", other(3, event="end", text="")) == []


def test_a_long_line_is_cut_around_the_text_and_not_within_a_character():
    ((_, line),) = found("here", output(1, "é".encode() * 200 + b"here" + "é".encode() * 200))
    assert line == "é" * 50 + "here" + "é" * 50
    ((_, line),) = found("here", output(1, b"x" + "é".encode() * 200 + b"here"))
    assert line == "é" * 50 + "here"


def test_output_that_is_no_text_is_searched():
    assert found("x", output(1, b"\xff\xfe\0x\xff")) == [(1, "\0x")]
    assert found("é", output(1, b"\xc3"), output(2, b"\xa9")) == [(2, "é")]


@pytest.mark.parametrize("text", ["a", "\\", '"', "\0", "\n", "é", "\U0001f600", "\x1b[31m"])
def test_any_text_is_found_in_output_and_in_words(text):
    assert [seq for seq, _ in found(text, output(1, b"<" + text.encode() + b">"), other(2, text=f"<{text}>"))] == [1, 2]


@given(
    data=st.binary(max_size=40),
    text=st.text(st.sampled_from("ab\né"), min_size=1, max_size=4),
    cuts=st.sets(st.integers(0, 40)),
)
def test_however_output_is_split_a_text_is_found_if_it_is_there(data, text, cuts):
    data += text.encode()
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    events = [output(seq, data[a:b]) for seq, (a, b) in enumerate(itertools.pairwise(edges), 1)]
    assert found(text, *events)
    without = data.lower().replace(text.encode(), b"")
    if text.encode() not in without:
        assert not found(text, output(1, without))
