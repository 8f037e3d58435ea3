"""Refused calls become a bounded number of audit rows, in bounded memory, and none goes uncounted."""

import asyncio

import pytest

from app.access.refused_calls import _BURST, _CALLERS, _KINDS, _ROW_SECONDS, RefusalAllowances, RefusedCallWriter
from db import audit
from db.audit import Refusal
from db.errors import DatabaseUnavailable


def total(rows):
    return sum(row.count for row in rows)


def test_a_few_refusals_are_stored_as_a_row_each_with_their_target():
    book = RefusalAllowances()
    refusals = [Refusal("forbidden", None, "tok-1", "::1", "tasks.cancel", f"task-{n}", "r") for n in range(5)]
    assert all(book.note(refusal, 0.0) for refusal in refusals)
    assert book.take(0.0) == refusals
    assert book.take(0.0) == []


def test_a_flood_of_wrong_tokens_is_summed_up_in_a_few_rows():
    book, rows = RefusalAllowances(), []
    for number in range(40_000):
        now = number / 200
        book.note(Refusal("token_invalid", address=f"10.0.{number % 30_000}", procedure="tasks.list"), now)
        if number % 50 == 0:
            rows += book.take(now)
    assert len(rows) <= _BURST + 200 / _ROW_SECONDS + 1
    (strangers,) = book._callers.values()
    assert len(strangers.waiting) <= _KINDS + 1
    later = 200.0
    while strangers.waiting:
        later += 1
        rows += book.take(later)
    assert total(rows) == 40_000
    assert len(rows) <= _BURST + 200 / _ROW_SECONDS + _KINDS + 3


def test_a_flood_of_one_caller_uses_no_allowance_of_another():
    book = RefusalAllowances()
    for _ in range(10_000):
        book.note(Refusal("token_invalid"), 0.0)
    assert book.note(Refusal("forbidden", None, "tok-1"), 0.0)


def test_the_allowance_grows_again_and_a_quiet_caller_is_forgotten():
    book = RefusalAllowances()
    for _ in range(_BURST + 3):
        book.note(Refusal("forbidden", None, "tok-1", procedure="tokens.list"), 0.0)
    assert len(book.take(0.0)) == _BURST
    assert [row.count for row in book.take(_ROW_SECONDS)] == [3]
    assert book.take(_ROW_SECONDS * (_BURST + 2)) == []
    assert not book._callers


def test_the_allowance_grows_between_two_refusals():
    book, refusal = RefusalAllowances(), Refusal("forbidden", None, "tok-1")
    assert all(book.note(refusal, 0.0) for _ in range(_BURST))
    assert book.note(refusal, _ROW_SECONDS)
    assert not book.note(refusal, _ROW_SECONDS)


def test_any_number_of_tokens_takes_bounded_memory():
    book, rows = RefusalAllowances(), []
    for number in range(_CALLERS + 200):
        for _ in range(_BURST + 1):
            book.note(Refusal("forbidden", None, f"tok-{number}"), 0.0)
        rows += book.take(0.0)
    assert len(book._callers) <= _CALLERS + 1
    assert all(len(caller.waiting) <= _KINDS + 1 for caller in book._callers.values())
    assert len(rows) <= (_CALLERS + 1) * _BURST


def test_rows_that_could_not_be_written_are_counted_and_written_later():
    book = RefusalAllowances()
    for number in range(3):
        book.note(Refusal("forbidden", None, "tok-1", procedure="tokens.list", target=f"task-{number}"), 0.0)
    book.give_back(book.take(0.0), 0.0)
    assert total(book.take(0.0)) == 3


def test_rows_that_fail_repeatedly_stay_bounded():
    book = RefusalAllowances()
    for number in range(10 * _KINDS):
        book.note(Refusal("token_invalid", address=str(number)), 0.0)
        book.give_back(book.take(0.0), 0.0)
    (strangers,) = book._callers.values()
    assert len(strangers.waiting) <= _KINDS + 1


def test_refusals_beyond_the_allowance_are_counted_by_kind_and_wait_for_one_row_each():
    book = RefusalAllowances()
    for _ in range(_BURST):
        assert book.note(Refusal("forbidden", None, "tok-1"), 0.0)
    kinds = [Refusal("forbidden", None, "tok-1", procedure=f"p.{number}") for number in range(_KINDS + 5)]
    for kind in kinds * 2:
        assert not book.note(kind, 0.0)
    book.take(0.0)
    waiting = book._callers["tok-1"].waiting
    assert [waiting[kind] for kind in kinds[:_KINDS]] == [2] * _KINDS
    assert waiting[Refusal("forbidden", token_id="tok-1")] == 10
    assert len(book.take(_ROW_SECONDS)) == 1
    assert len(book.take(_ROW_SECONDS * 4)) == 3


def test_callers_beyond_the_limit_share_an_allowance_and_unknown_ones_keep_theirs():
    book = RefusalAllowances()
    for number in range(_CALLERS):
        assert book.note(Refusal("forbidden", None, f"tok-{number}"), 0.0)
    for number in range(_BURST):
        assert book.note(Refusal("forbidden", None, f"more-{number}"), 0.0)
    assert not book.note(Refusal("forbidden", None, "more-0"), 0.0)
    assert book.note(Refusal("forbidden", None, "tok-0"), 0.0)
    assert book.note(Refusal("token_invalid"), 0.0)
    assert set(book._callers["*"].waiting) == {Refusal("forbidden", None, "more-0")}


class Written:
    """The rows that reach the database, which a test takes away."""

    def __init__(self, monkeypatch):
        self.rows, self.away, self.calls = [], False, 0
        self.changed = asyncio.Event()
        monkeypatch.setattr(audit, "record_refusals", self._record)

    async def _record(self, db, rows):
        self.calls += 1
        if self.away:
            raise DatabaseUnavailable("away")
        self.rows += rows
        self.changed.set()


@pytest.fixture
def written(monkeypatch):
    return Written(monkeypatch)


async def test_a_refusal_is_written_at_once(written, monkeypatch):
    monkeypatch.setattr("app.access.refused_calls._WAIT_SECONDS", 600.0)
    writer = RefusedCallWriter(None, lambda: 0.0)
    running = asyncio.create_task(writer.run())
    await asyncio.sleep(0)
    try:
        for number in (1, 2):
            writer.note(Refusal("forbidden", target=f"task-{number}"))
            async with asyncio.timeout(60):
                await written.changed.wait()
            written.changed.clear()
            assert [row.target for row in written.rows] == ["task-1", "task-2"][:number]
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_nothing_is_written_when_nothing_was_refused(written):
    await RefusedCallWriter(None).flush()
    assert written.calls == 0


async def test_refusals_wait_for_a_database_that_is_away(written):
    writer = RefusedCallWriter(None, lambda: 0.0)
    writer.note(Refusal("forbidden"))
    written.away = True
    await writer.flush()
    written.away = False
    await writer.flush()
    assert total(written.rows) == 1
