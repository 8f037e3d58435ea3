"""Which events of a batch an attempt may still store."""

from datetime import UTC, datetime

import orjson
import pytest

from app.log.appender import OTHER_BYTES
from app.procedures.append import within_limit
from db.events import Batch, NewEvent

LIMIT = 1000
AT = datetime.now(UTC)
OUTPUT = NewEvent("output", "stdout", AT, b"x" * 300, None)
AGENT = NewEvent("agent", None, AT, None, '{"text":"é"}')


def batch(*events):
    return Batch(1, 0, 1, "w1", 1, list(events))


def test_below_the_limit_a_batch_is_stored_whole():
    found = batch(OUTPUT, AGENT)
    assert within_limit(found, LIMIT, stored=LIMIT - 1, first=True) is found


def test_at_the_limit_output_is_dropped_and_other_events_are_kept():
    rest = within_limit(batch(OUTPUT, AGENT), LIMIT, stored=LIMIT, first=False)
    assert (list(rest.events), rest.dropped) == ([AGENT], 300)


@pytest.mark.parametrize("kind", ["output", "progress", "agent", "checkpoint", "dropped"])
def test_one_mebibyte_later_every_type_of_event_is_dropped(kind):
    event = OUTPUT if kind == "output" else AGENT._replace(type=kind)
    rest = within_limit(batch(event), LIMIT, stored=LIMIT + OTHER_BYTES, first=False)
    assert (list(rest.events), rest.dropped) == ([], event.size)


def test_the_first_dropped_event_leaves_a_truncated_event():
    rest = within_limit(batch(OUTPUT), LIMIT, stored=LIMIT, first=True)
    assert [event.type for event in rest.events] == ["truncated"]
    assert orjson.loads(rest.events[0].body) == {"limitBytes": LIMIT, "droppedBytes": 300}
    assert within_limit(rest, LIMIT, stored=LIMIT + OTHER_BYTES, first=True) is rest


def test_every_event_counts_its_bytes_and_at_least_a_row():
    empty = OUTPUT._replace(data=b"")
    assert batch(OUTPUT, empty, AGENT).sizes() == (400, 100)
    long = AGENT._replace(body='"' + "é" * 100 + '"')
    assert (long.size, batch(long).sizes()) == (202, (0, 202))
    assert batch(NewEvent("truncated", None, AT, None, "{}")).sizes() == (0, 0)
