"""What of the log is written, and how."""

import json
import logging
import sys

import pytest

from app.core.logs import JsonFormatter, RepeatFilter


@pytest.fixture
def log():
    """Write a record at a time; return its line, or None where it is left out."""
    repeats, format_ = RepeatFilter(), JsonFormatter().format

    def write(at, level, message, *, name="ado.control", error=None, **fields):
        exc_info = (type(error), error, None) if error else None
        record = logging.LogRecord(name, level, __file__, 1, message, (), exc_info)
        record.created = at
        vars(record).update(fields)
        return json.loads(format_(record)) if repeats.filter(record) else None

    return write


def test_a_repeated_warning_is_written_once_a_minute_with_how_often_it_came(log):
    assert log(0, logging.WARNING, "waits", step="monitor", seconds=1)
    assert [log(at, logging.WARNING, "waits", step="monitor", seconds=at) for at in (1, 2, 59)] == [None] * 3
    assert log(61, logging.WARNING, "waits", step="monitor", seconds=61)["repeated"] == 3
    assert "repeated" not in log(130, logging.WARNING, "waits", step="monitor")


@pytest.mark.parametrize("other", [{"step": "tell"}, {"message": "goes"}, {"error": ValueError("b")}, {"name": "x"}])
def test_a_different_warning_is_written(log, other):
    same = {"message": "waits", "step": "monitor", "error": ValueError("a"), "name": "ado.control"}
    assert log(0, logging.ERROR, **same)
    assert log(1, logging.ERROR, **same) is None
    assert log(1, logging.ERROR, **{**same, **other})


def test_a_change_of_state_is_always_written(log):
    assert log(0, logging.INFO, "attempt finished", job="task-1/0")
    assert log(0, logging.INFO, "attempt finished", job="task-1/0")


def test_the_trace_of_a_pool_that_cannot_connect_is_one_line(log):
    line = log(0, logging.WARNING, "retrying", name="asyncpg.pool", error=OSError("refused"))
    assert (line["detail"], line.get("trace")) == ("OSError: refused", None)


def test_connections_that_differ_by_their_address_alone_are_the_same(log):
    assert log(0, logging.WARNING, "discarding <Connection at 0x7f01>", name="psycopg.pool")
    assert log(1, logging.WARNING, "discarding <Connection at 0x7f02>", name="psycopg.pool") is None


def test_every_log_line_of_a_process_has_the_format():
    from app.core import logs

    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        logs.configure()
        assert [type(one) for one in root.handlers[0].filters] == [RepeatFilter]
        assert root.handlers[0].stream is sys.stderr
    finally:
        root.handlers[:] = before
        root.setLevel(level)
