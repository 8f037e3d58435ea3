"""Events as they are sent: an event that cannot be sent becomes a dropped event; output grows at most as by base64."""

from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.procedures.append import parse_event
from app.rpc.errors import ProcedureError
from app.settings import AppSettings
from worker.output.wire_events import (
    EVENT_BYTES,
    Chunk,
    ServerLimits,
    clean_text,
    encode,
    halves,
    result_that_fits,
    usage_that_fits,
)

SETTINGS = AppSettings(dsn="postgresql://x")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        ("\ud800", "not_encodable"),
        (2**64, "not_encodable"),
        (-(2**63) - 1, "not_encodable"),
        (nested(400), "not_encodable"),
        (nested(5000), "not_encodable"),
        ("x" * EVENT_BYTES, "too_large"),
        ("\x00" * (EVENT_BYTES // 6), "too_large"),
    ],
)
def test_an_event_that_cannot_be_sent_becomes_a_dropped_event(member, reason):
    event = orjson.loads(encode({"type": "progress", "message": member}).wire())
    assert (event["type"], event["reason"]) == ("dropped", reason)
    assert parse_event(event, SETTINGS).type == "dropped"


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4))
def test_the_server_accepts_every_event_that_is_sent(members):
    """An encoded event is one that the server's own check takes, unless its ``at`` is no time."""
    members.pop("at", None)
    event = orjson.loads(encode({**members, "type": "progress"}).wire())
    assert parse_event(event, SETTINGS).type in ("progress", "dropped")


@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode), st.integers(1, 200))
def test_output_is_sent_unchanged_and_little_larger(piece, times):
    data = piece * times
    try:
        text = bool(data.decode() or True)
    except UnicodeDecodeError:
        text = False
    wire = Chunk("stdout", datetime.now(UTC), bytearray(data), text).wire()
    assert parse_event(orjson.loads(wire), SETTINGS).data == data
    # quotes and backslashes double, which base64 does not beat by much
    assert len(wire) <= 2 * len(data) + 200


@pytest.mark.parametrize("byte", [b"\x00", b"\x1b", b"\x7f", b"a", b"\n"])
def test_control_bytes_do_not_grow_sixfold(byte):
    wire = Chunk("stdout", datetime.now(UTC), bytearray(byte * 65536), True).wire()
    assert len(wire) < 65536 * 2.1


@given(st.text() | st.binary().map(lambda data: data.decode("utf-8", "surrogateescape")), st.integers(10, 50))
def test_a_clean_text_can_be_stored(text, limit):
    clean = clean_text(text, limit)
    assert b"\x00" not in clean.encode()
    assert len(clean) <= limit + 3


def test_a_file_name_that_is_not_utf8_is_shown_by_its_bytes():
    name = b"caf\xe9\x00.txt".decode("utf-8", "surrogateescape")
    assert clean_text(name, 100) == "caf\\xe9\\x00.txt"
    assert clean_text("\ud800", 100) == "\\ud800"
    assert clean_text(None, 100) is None


def test_a_long_message_keeps_its_beginning_and_its_end():
    clean = clean_text("a" * 100 + "b" * 100, 20)
    assert clean.startswith("aaaaaaaaaa ")
    assert clean.endswith(" bbbbbbbbbb")


@pytest.mark.parametrize("text", ["x" * 5_000_000, "\x00" * 1_000_000, "a\ud800", None, 5, nested(400)])
def test_a_result_that_is_too_large_keeps_a_part_of_its_text(text):
    fitting = result_that_fits({"text": text, "more": nested(400)})
    assert set(fitting) == {"text", "cut"}
    assert len(orjson.dumps(fitting)) < EVENT_BYTES


def test_a_result_within_the_limits_is_sent_unchanged():
    result = {"text": "x\x00y" * 1000}
    assert result_that_fits(result) is result
    assert result_that_fits(None) is None


@pytest.mark.parametrize("usage", [{"a": "\x00"}, {"\x00": 1}, {"a": 2**64}, {"a": "x" * EVENT_BYTES}, {"a": "\ud800"}])
def test_invalid_usage_is_left_out(usage):
    assert usage_that_fits(usage) is None
    assert usage_that_fits({"inputTokens": 5}) == {"inputTokens": 5}


def test_a_lower_limit_of_the_server_is_kept():
    assert ServerLimits.of({"eventBytes": 1000, "batchEvents": 10}) == ServerLimits(1000, 10)


def test_a_higher_limit_of_the_server_is_not_used():
    assert ServerLimits.of({"eventBytes": 1 << 30, "batchEvents": 1 << 30}) == ServerLimits()


def test_a_server_of_an_older_release_names_no_limits():
    assert ServerLimits.of({}) == ServerLimits()


@pytest.mark.parametrize("source", ["setup", "check"])
def test_output_of_a_setup_or_check_keeps_its_name_when_it_is_divided(source):
    chunk = Chunk(source, datetime.now(UTC), bytearray(b"ab"), True)
    parts = [parse_event(orjson.loads(part), SETTINGS) for part in halves(chunk.wire())]
    expected = [("stderr", data, {"source": source}) for data in (b"a", b"b")]
    assert [(part.stream, part.data, orjson.loads(part.body)) for part in parts] == expected


def test_output_has_no_other_source():
    with pytest.raises(ProcedureError, match="source must be setup or check"):
        parse_event({"type": "output", "data": "x", "source": "agent"}, SETTINGS)
