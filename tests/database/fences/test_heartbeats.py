"""What a heartbeat renews, counts and leaves as it is."""

from support.fences import beat, changes, raw
from support.records import closed, finish, register

from db import jobs


async def test_a_heartbeat_needs_its_worker_and_session(db):
    assert await changes(db, beat(db, session="other")) == (None, set())
    assert await changes(db, beat(db, worker_id="w9")) == (None, set())
    await raw(db, "update ado.workers set session = 's'")
    _, changed = await changes(db, beat(db, session="s"))
    assert changed == {("worker", "w1"), ("job", "1", 0), ("job", "1", 1)}


async def test_a_heartbeat_renews_the_running_jobs_that_it_lists_and_counts_the_others(db):
    await raw(db, "update ado.jobs set missed_heartbeats = 5 where worker_id = 'w1'")
    await raw(db, "update ado.jobs set lease_expires_at = 'epoch' where status = 'running'")
    listed = [(1, 0, 1), (1, 2, 1), (2, 0, 1), (2, 1, 1), (1, 1, 9)]
    renewal, changed = await changes(db, beat(db, listed=listed))
    found = {job.key: (job.listed, job.missed_heartbeats) for job in renewal.held}
    assert found == {(1, 0, 1): (True, 0), (1, 1, 1): (False, 6)}
    assert changed == {("worker", "w1"), ("job", "1", 0), ("job", "1", 1)}
    renewed = await raw(db, "select task_id, job from ado.jobs where lease_expires_at > now()")
    assert [tuple(row) for row in renewed] == [(1, 0)]
    await closed(db, finish(1))
    assert [job.key for job in (await beat(db)).held] == [(1, 1, 1)]


async def test_a_worker_is_idle_while_it_runs_nothing_itself(db):
    await register(db, "w3")
    await jobs.finish_all(db, [finish(1, job=0), finish(1, job=1)])
    await raw(db, "update ado.workers set idle_since = 'epoch'")
    for number in (1, 2, 3):
        await beat(db, f"w{number}", f"session-w{number}-i1")
    rows = await raw(db, "select worker_id from ado.workers where idle_since = 'epoch' order by 1")
    assert [row["worker_id"] for row in rows] == ["w1", "w3"]
