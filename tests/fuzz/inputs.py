"""Unexpected inputs: bytes of any kind and size, and lines that resemble events."""

import json
from dataclasses import dataclass

from hypothesis import strategies as st

KIB = 1024


@dataclass(frozen=True)
class Data:
    """Bytes by their pieces and how often each is repeated, so that a failure can print a megabyte."""

    pieces: tuple[tuple[bytes, int], ...]

    def whole(self):
        """Return the bytes."""
        return b"".join(piece * count for piece, count in self.pieces)


def _once(data):
    return Data(((data, 1),))


_REPEATED = st.sampled_from(
    [b"\x00", b"\x1b", b"\xff", b"\xc2\x9b", b'"', b"\\", b"\r", b"\n", "€".encode(), b"\xf0\x9f", b"\x1b[31m", b"a\n"]
)
_ODD = st.sampled_from(
    [b"\x1b[3", b"1m", b"\x1b]0;title\x07", b"\x1b[2J", b"\xed\xa0\x80", b"50%\r51%\r", b"\xef\xbb\xbf", b"\x1b[K"]
)

CHUNKS = st.one_of(
    st.binary(max_size=200).map(_once),
    st.text(max_size=60).map(lambda text: _once(text.encode("utf-8", "surrogatepass"))),
    _ODD.map(_once),
    st.builds(lambda piece, count: Data(((piece, count),)), _REPEATED, st.sampled_from([1, 100, 5_000, 400_000])),
)
"""What a program may write to a terminal."""

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.text(max_size=30)
    | st.sampled_from(["\ud800", "\x00", "succeeded", "task-1/0"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
"""JSON of any shape, and what Python's writer calls JSON (NaN, lone surrogates)."""

_MEMBERS = """type event percent message at data stream encoding sessionId seq job attempt taskId storedAt text raw
usage ok toolId bytes reason"""
EVENT_MEMBERS = st.dictionaries(st.sampled_from(_MEMBERS.split()), JSON_VALUES, max_size=5)
EVENTS = st.builds(
    lambda kind, members: {**members, "type": kind},
    st.sampled_from(["progress", "agent", "output", "checkpoint", "dropped", "finished", "succeeded", None, 5]),
    EVENT_MEMBERS,
)


def _nested(depth):
    return Data(((b'{"type":"progress","message":', 1), (b"[", depth), (b"]", depth), (b"}\n", 1)))


def _long(size):
    return Data(((b'{"type":"progress","message":"', 1), (b"x", size), (b'"}\n', 1)))


def _number(digits):
    return Data(((b'{"type":"progress","percent":', 1), (b"9", digits), (b"}\n", 1)))


EVENT_LINES = st.one_of(
    EVENTS.map(lambda event: _once(json.dumps(event).encode() + b"\n")),
    EVENTS.map(lambda event: _once(json.dumps(event).encode()[:-3] + b"\n")),
    st.binary(max_size=200).map(lambda line: _once(line + b"\n")),
    st.sampled_from([10, 400, 5_000]).map(_nested),
    st.sampled_from([60 * KIB, 1100 * KIB, 3000 * KIB]).map(_long),
    st.sampled_from([20, 400]).map(_number),
    st.just(_once(b'{"type":"progress","percent":1e999}\n')),
)
"""Lines for the events pipe, and what only looks like one."""
