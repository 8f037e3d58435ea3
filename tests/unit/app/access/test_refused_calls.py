"""Refused calls become a bounded number of audit rows, in bounded memory, and none goes uncounted."""

from app.access.refused_calls import _BURST, _CALLERS, _KINDS, _ROW_SECONDS, RefusalAllowances
from db.audit import Refusal


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
