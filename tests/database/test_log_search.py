"""``tasks.search``: a text in a log of any length, window by window, in both directions."""

import pytest
from support.procedures import Real

from app.procedures import log_search

EVENTS = 12_000


@pytest.fixture
def real(dsn, monkeypatch):
    """A task of two jobs whose output has a number a line, in turn; a call has all the time that it needs."""
    monkeypatch.setattr(log_search, "_CALL_SECONDS", 3600.0)
    made = Real(dsn)
    made.call("tasks.create", prompt="find the prompt", agent="shell", workers=2)
    made.sql(
        """with written as (
               insert into ado.events (task_id, seq, job, attempt, type, stream, at, stored_at, data)
               select 1, n, n % 2, 1, 'output', 'stdout', now(), now(), convert_to('line ' || n || E'\\n', 'UTF8')
               from generate_series(2, $1::bigint) n
           )
           update ado.task_logs set last_seq = $1::bigint""",
        EVENTS,
    )
    yield made
    made.close()


def search(real, text, **more):
    """Search to the end; return the seqs of the hits and the number of calls."""
    seqs, calls = [], 0
    while True:
        calls += 1
        found = real.call("tasks.search", taskId="task-1", text=text, **more)
        seqs += [hit.seq for hit in found.items]
        if found.next_before and "after" not in more:
            more["before"] = found.next_before
        elif found.next_after and "after" in more:
            more["after"] = found.next_after
        else:
            return seqs, calls


def test_both_directions_find_every_line_once(real):
    expected = [n for n in range(2, EVENTS + 1) if "77" in str(n)]
    for limit in (7, 1000):
        assert search(real, "77", limit=limit)[0] == expected[::-1]
        assert search(real, "77", after=0, limit=limit)[0] == expected


def test_a_search_begins_at_the_end_or_at_a_cursor(real):
    assert [hit.seq for hit in real.call("tasks.search", taskId="task-1", text="line", limit=3).items] == [
        EVENTS, EVENTS - 1, EVENTS - 2,
    ]  # fmt: skip
    assert [hit.seq for hit in real.call("tasks.search", taskId="task-1", text="line", before=10, limit=2).items] == [
        9,
        8,
    ]
    assert [hit.seq for hit in real.call("tasks.search", taskId="task-1", text="line", after=10, limit=2).items] == [
        11,
        12,
    ]
    (hit,) = real.call("tasks.search", taskId="task-1", text="line 4711\n").items
    assert (hit.seq, hit.job, hit.attempt, hit.type, hit.stream) == (4711, 1, 1, "output", "stdout")
    assert hit.line.startswith("line 4711")


def test_a_job_has_its_own_lines_and_those_of_the_task(real):
    expected = [n for n in range(2, EVENTS + 1) if "99" in str(n) and n % 2]
    assert search(real, "99", after=0, job=1)[0] == expected
    assert search(real, "THE PROMPT", job=1)[0] == search(real, "THE PROMPT")[0] == [1]
    assert search(real, "line", job=5)[0] == []


def test_a_text_that_begins_in_the_window_before_is_found(real, monkeypatch):
    monkeypatch.setattr(log_search, "_WINDOW_EVENTS", 3)
    real.sql("update ado.task_logs set last_seq = 60")
    for seq, data in ((20, b"a nee"), (22, b"dle"), (24, b" b")):
        real.sql("update ado.events set data = $2 where task_id = 1 and seq = $1", seq, data)
    for more in ({"after": 15}, {"before": 30}, {"after": 21}, {"before": 23}):
        found = real.call("tasks.search", taskId="task-1", text="needle", **more)
        assert [hit.seq for hit in found.items] == [22], more


def test_a_call_ends_after_its_time_and_says_where_to_go_on(real, monkeypatch):
    monkeypatch.setattr(log_search, "_CALL_SECONDS", 0.0)
    monkeypatch.setattr(log_search, "_WINDOW_EVENTS", 1000)
    seqs, calls = search(real, "line 2\n")
    assert (seqs, calls) == ([2], 13)


def test_a_search_that_cannot_be_is_refused(real):
    for value in (
        {"text": ""},
        {"text": "x" * 201},
        {"before": -1},
        {"limit": 0},
        {"before": 1, "after": 1},
        {"job": -1},
    ):
        assert real.call("tasks.search", **{"taskId": "task-1", "text": "x", **value}) == "invalid_input", value
    assert real.call("tasks.search", taskId="task-2", text="x") == "no_such_task"
    real.sql("update ado.log_ranges set pruned_at = now() where from_task_id <= 1")
    assert real.call("tasks.search", taskId="task-1", text="x") == "log_pruned"
