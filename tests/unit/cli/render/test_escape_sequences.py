"""What a program wrote reaches a terminal as text, colours and moves within a line, however it was cut."""

import base64
import itertools
import re

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.render.escape_sequences import EscapeFilter, plain
from cli.render.lines import Lines, Style

ALLOWED = re.compile(r"\x1b\[[0-9;:]*m|\x1b\[[12]?K|[\n\r\t]")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
PARTS = [
    b"a", b"\xe6\xbc\xa2", "\U0001f469\u200d\U0001f467".encode(), b"e\xcc\x81", b"\xff", b"\x9b", b"\xc2\x9b",
    b"\xc2\x9d", b"\x1b", b"[", b"]", b"P", b"\\", b"31m", b";", b"8", b"K", b"2", b"G", b"\r", b"\n", b"\t",
    b"\x07", b"\x18", b"\0", b"0;title", b"?1049h", b" ", b"\xe2\x80\xae", b"\x1b[31m", b"\x1b[K", b"\x1b[1;1H",
    b"\x1b[" + b"1" * 100, b"\x1b]" + b"x" * 100,
]  # fmt: skip
BYTES = st.one_of(st.binary(max_size=60), st.lists(st.sampled_from(PARTS), max_size=25).map(b"".join))
CUTS = st.lists(st.integers(0, 80), max_size=6)


def cut(data, cuts):
    edges = [0, *sorted(min(at, len(data)) for at in cuts), len(data)]
    return [data[low:high] for low, high in itertools.pairwise(edges)]


def passed(*pieces, coloured=True, erasing=True):
    made = EscapeFilter(coloured=coloured, erasing=erasing)
    return "".join(made.feed(piece) for piece in pieces) + made.feed(b"", last=True)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (b"a\x1b[31mb\x1b[0m\x1b[K\x1b[2K\x1b[0K", "a\x1b[31mb\x1b[0m\x1b[K\x1b[2K\x1b[K"),
        (b"\x1b[38;5;8mgrey\x1b[38;2;1;8;3mrgb", "\x1b[38;5;8mgrey\x1b[38;2;1;8;3mrgb"),
        (b"\x1b[0;8mhidden", "hidden"),
        (b"\x1b[2J\x1b[1;1Ha\x1b[?1049hb\x1b[?25lc\x1b[10Ad", "abcd"),
        (b"\x1b]0;title\x07a\x1b]0;title\x1b\\b\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "ablink"),
        (b"\x1bP1$r\x1b\\a\x1b_G\x1b\\b\x1b^x\x1b\\c\x1bXx\x1b\\d", "abcd"),
        (b"\x1bca\x1b7b\x1b(Bc\x1b=d\x07\x08\x00\x0b\x0c\x7f", "abcd"),
        (b"\xc2\x9b31mred\xc2\x9b2J\xc2\x9d0;t\xc2\x9c.\xc2\x85", "\x1b[31mred."),
        (b"\x9b2J\x80\xff", "\ufffd2J\ufffd\ufffd"),
        (b"npm\x1b[2K\x1b[1Gyarn\x1b[Gx\x1b[5G", "npm\x1b[2K\ryarn\rx"),
        (b"\x1b]0;no end\nnext", "\nnext"),
        (b"\x1b[3\n1m", "\n1m"),
        (b"\x1b[\x1b[31mred", "\x1b[31mred"),
        ("a\u202eb\u2066c\U000e0041".encode(), "abc"),
        (b"end\x1b", "end"),
        (b"end\x1b]0;" + b"x" * 1000, "end"),
        (b"\x1b[" + b"1;" * 1000 + b"mred", "red"),
    ],
)
def test_only_colours_and_erase_line_pass(written, shown):
    assert passed(written) == shown
    assert passed(*(bytes([byte]) for byte in written)) == shown


def test_a_message_keeps_only_its_text():
    assert plain("\x1b[31merror\x1b[0m: \x1b]0;t\x07\udc80x") == "error: ?x".replace("?", "\ufffd" * 3)


@given(BYTES, CUTS, st.booleans(), st.booleans())
def test_no_bytes_and_no_cut_pass_a_control_or_change_the_text(data, cuts, coloured, erasing):
    whole = passed(data, coloured=coloured, erasing=erasing)
    assert passed(*cut(data, cuts), coloured=coloured, erasing=erasing) == whole
    assert not CONTROL.search(ALLOWED.sub("", whole))
    assert coloured or "m" not in re.findall(r"\x1b\[[0-9;:]*(.)", whole)


def output(data):
    text = base64.b64encode(data).decode()
    return {"type": "output", "job": 0, "attempt": 1, "stream": "stdout", "at": "", "data": text, "encoding": "base64"}


def shown(pieces, style):
    """Return what is written for output in pieces and at its end, and the rows that a screen shows of it."""
    lines = Lines(style)
    made = [lines.feed(output(piece)) for piece in pieces]
    written = b"".join(data for _, data in itertools.chain(*made, lines.rest()))
    screen = pyte.Screen(200, 50)
    screen.set_mode(pyte.modes.LNM)
    pyte.ByteStream(screen).feed(written)
    return written, [row.rstrip() for row in screen.display]


@given(BYTES, CUTS, st.booleans())
def test_the_lines_on_a_screen_do_not_depend_on_the_cuts_of_the_output(data, cuts, coloured):
    style = Style(prefixed=True, terminals=frozenset({1, 2}), coloured=coloured, columns=lambda: 200)
    written, screen = shown(cut(data, cuts), style)
    assert screen == shown([data], style)[1]
    assert not CONTROL.search(ALLOWED.sub("", written.decode()))


@given(st.text(alphabet="ab \r", max_size=40), CUTS)
def test_a_rewritten_line_is_shown_like_on_a_terminal(text, cuts):
    style = Style(prefixed=True, terminals=frozenset({1, 2}), columns=lambda: 200)
    screen = pyte.Screen(200, 2)
    pyte.Stream(screen).feed(f"{text}\r\n")
    want = f"[0] {screen.display[0]}".rstrip()
    assert shown([piece.encode() for piece in cut(text + "\n", cuts)], style)[1][0] == want
