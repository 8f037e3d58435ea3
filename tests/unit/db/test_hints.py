"""Hints share payloads that Postgres takes, and come out as they went in."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from db.hints import HintFailures, merge, parse, payloads, topic

NOT_NUL = st.characters(exclude_characters="\0", exclude_categories=["Cs"])


def parsed(hints):
    return [hint for payload in payloads(hints) for hint in parse(payload)]


@given(st.lists(st.text(NOT_NUL, min_size=1, max_size=200).map("w:{}".format), max_size=50))
def test_any_worker_id_is_decoded_unchanged(hints):
    assert parsed(hints) == hints


@pytest.mark.parametrize("name", ["worker-{}", "ado-task-123-{}-d1000", "ü" * 190 + "{}", " % {}"])
def test_hints_for_a_thousand_workers_fit_the_payload_limit(name):
    hints = [f"w:{name.format(number)}" for number in range(1000)]
    assert max(len(payload.encode()) for payload in payloads(hints)) < 8000
    assert parsed(hints) == hints


def test_a_hint_that_fits_no_payload_is_left_out():
    assert parsed(["q:1", "w:" + "x" * 9000, "s"]) == ["q:1", "s"]


def test_no_hints_make_no_payload():
    assert list(payloads([])) == []


def test_hints_about_one_log_or_the_queue_have_one_topic():
    assert topic("e:12:5") == topic("e:12:6") != topic("e:1:25")
    assert topic("q:1") == topic("q:2")
    assert topic("w:a:1") != topic("w:a:2")


def test_the_highest_hint_of_a_topic_is_kept_whatever_order_the_answers_came_in():
    pending = {}
    merge(pending, ["e:1:9", "w:a:1", "e:12:10", "q:2"])
    merge(pending, ["e:12:9", "w:a:0", "e:1:10", "q:1"])
    assert list(pending.values()) == ["e:1:10", "w:a:1", "e:12:10", "q:2", "w:a:0"]


def test_failures_are_logged_at_intervals(caplog):
    failures = HintFailures()
    for _ in range(3):
        failures.log(OSError(), full=True)
    (record,) = caplog.records
    assert "pg_stat_activity" in record.next_step
