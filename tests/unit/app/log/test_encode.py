"""The JSON of an event of the log."""

from datetime import UTC, datetime

import orjson
import pytest

from app.log.encode import encode
from db.model import EventRow

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def row(kind, **given):
    members = {"stream": None, "data": None, "body": None, **given}
    return EventRow(7, 3, 0, 1, kind, members["stream"], NOON, NOON, members["data"], members["body"])


@pytest.mark.parametrize(
    ("data", "members"),
    [(b"h\xc3\xa4", {"data": "hä"}), (b"\xff", {"data": "/w==", "encoding": "base64"}), (None, {"data": ""})],
)
def test_output_is_text_or_base64(data, members):
    entry = encode(row("output", stream="stdout", data=data))
    assert entry.stream == "stdout"
    shape = orjson.loads(entry.text)
    assert {name: shape.get(name) for name in ("data", "encoding")} == {"encoding": None, **members}


def test_an_event_has_its_ids_times_and_stored_members():
    assert orjson.loads(encode(row("progress", body='{"percent":50}')).text) == {
        "taskId": "task-7", "seq": 3, "job": 0, "attempt": 1, "type": "progress",
        "at": "2026-01-01T12:00:00+00:00", "storedAt": "2026-01-01T12:00:00+00:00", "percent": 50,
    }  # fmt: skip


def test_only_the_ends_of_a_task_are_terminal():
    ends = {"succeeded", "failed", "cancelled"}
    kinds = ends | {"finished", "started", "output", "cancel_requested"}
    assert {kind for kind in kinds if encode(row(kind, stream="stdout")).terminal} == ends
