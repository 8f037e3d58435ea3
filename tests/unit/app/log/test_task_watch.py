"""A viewer of the whole system gets each change of a task once, also of changes between two readings."""

from app.log.task_watch import LATE_IDS, Seen, TaskWatch


def test_a_task_that_began_and_ended_between_two_readings_is_reported_once():
    watch = TaskWatch([Seen(1, "running", 5)])
    short = Seen(2, "succeeded", 4)
    assert watch.changes([Seen(1, "running", 7), short]) == [short]
    assert watch.changes([Seen(1, "running", 8), short]) == []


def test_a_task_with_an_older_id_that_was_stored_later_is_reported():
    watch = TaskWatch([Seen(9, "queued", 1)])
    late = Seen(8, "succeeded", 4)
    assert watch.changes([late, Seen(9, "queued", 1)]) == [late]


def test_each_status_is_reported_once_also_after_a_retry():
    watch = TaskWatch([Seen(1, "queued", 1)])
    statuses = []
    for status in ("queued", "running", "running", "failed", "failed", "queued", "succeeded"):
        statuses += [task.status for task in watch.changes([Seen(1, status, 1)])]
    assert statuses == ["running", "failed", "queued", "succeeded"]


def test_open_tasks_are_remembered_and_the_memory_is_bounded():
    watch = TaskWatch([Seen(number, "running", 1) for number in range(1, 11)])
    assert watch.known == list(range(1, 11))
    watch.changes([Seen(number, "succeeded", 2) for number in range(1, 11)])
    assert watch.known == []
    for number in range(11, 12_000):
        watch.changes([Seen(number, "succeeded", 4)])
    assert watch.newest == 11_999
    assert len(watch._status) <= LATE_IDS


def test_a_removed_task_is_forgotten_once_it_is_old():
    watch = TaskWatch([Seen(1, "succeeded", 3), Seen(1000, "queued", 1)])
    watch.changes([Seen(1000, "queued", 1)])
    assert watch.known == [1000]
