"""The life of tasks, jobs and attempts in the database: fences, verdicts, losses, races."""

import asyncio
from datetime import timedelta

from support.records import LEASE, SUSPECT, append, batch, claim, closed, create, finish, register

from db import events, jobs, tasks, tokens, workers
from db.model import ResourceAmounts


async def raw(db, statement):
    """Reach into the tables, as time or an operator would."""
    return await db._pool.fetch(statement)


async def log(db, task_id):
    return (await events.page(db, task_id, 0, row_limit=10_000, byte_limit=1 << 30)).events


async def kinds(db, task_id):
    return [event.type for event in await log(db, task_id)]


async def beat(db, listed=(), *, worker_id="w1", instance="i1", stopped=False):
    return await workers.heartbeat(
        db,
        worker_id=worker_id,
        session=f"session-{worker_id}-{instance}",
        listed=list(listed),
        load=None,
        at=None,
        stopped=stopped,
        lease_seconds=LEASE,
    )


async def test_a_claimed_job_is_not_claimed_again(db):
    await create(db, workers=3)
    await register(db, "w1")
    await register(db, "w2")
    first, second = await asyncio.gather(claim(db, "w1"), claim(db, "w2"))
    keys = [(job.task_id, job.job) for job in first + second]
    assert len(keys) == len(set(keys)) == 3


async def test_a_claim_never_gives_more_than_free_slots(db):
    await create(db, workers=20)
    await register(db, slots=3)
    given = [job for claimed in await asyncio.gather(*(claim(db) for _ in range(8))) for job in claimed or []]
    assert len(given) == 3
    assert await claim(db) == []


async def test_a_claim_goes_by_priority_then_age(db):
    old = await create(db)
    urgent = await create(db, priority=5)
    await register(db)
    assert [job.task_id for job in await claim(db, limit=1)] == [urgent]
    assert [job.task_id for job in await claim(db, limit=1)] == [old]


async def test_capabilities_and_resources_must_match(db):
    await create(db, requires=("gpu",))
    await create(db, resources=ResourceAmounts(cpu=6))
    await create(db, resources=ResourceAmounts(cpu=6))
    await register(db, resources=ResourceAmounts(8, 2**34))
    assert [job.task_id for job in await claim(db)] == [2]
    assert await claim(db) == []


async def test_a_draining_or_silent_worker_gets_nothing(db):
    await create(db)
    await register(db)
    await workers.drain(db, "w1")
    assert await claim(db) is None
    await register(db, "w2")
    await raw(db, "update ado.workers set last_heartbeat_at = now() - interval '20 seconds' where worker_id = 'w2'")
    assert await claim(db, "w2") is None


async def test_batches_get_consecutive_numbers_without_gap(db):
    task_id = await create(db, workers=2)
    await register(db)
    await claim(db)
    appended = await append(db, [batch(task_id, events=3), batch(task_id, job=1, events=2)], LEASE)
    assert all(appended)
    assert [event.seq for event in await log(db, task_id)] == list(range(1, 9))


async def test_a_repeated_batch_stores_nothing_and_a_gap_is_refused(db):
    task_id = await create(db)
    await register(db)
    await claim(db)
    assert await append(db, [batch(task_id)], LEASE) == [True]
    assert await append(db, [batch(task_id)], LEASE) == [False]
    assert await append(db, [batch(task_id, 3)], LEASE) == [False]
    assert (await kinds(db, task_id)).count("output") == 1


async def test_a_late_worker_changes_nothing(db):
    """Every write of an attempt that was given to another worker is refused."""
    task_id = await create(db)
    await register(db, "w1")
    await claim(db, "w1")
    await jobs.end_attempts(db, [(task_id, 0, 1)], reason="lost", loss=True)
    await register(db, "w2")
    assert [job.attempt for job in await claim(db, "w2")] == [2]
    before = await kinds(db, task_id)
    assert await append(db, [batch(task_id)], LEASE) == [False]
    assert await closed(db, finish(task_id)) is None
    answer = await beat(db, [(task_id, 0, 1)])
    assert answer.held == ()
    assert await jobs.end_attempts(db, [(task_id, 0, 1)], reason="lost", loss=True) == []
    assert await kinds(db, task_id) == before


async def test_a_finish_without_its_output_is_refused(db):
    task_id = await create(db)
    await register(db)
    await claim(db)
    assert await closed(db, finish(task_id, last_batch=1)) is None
    assert (await jobs.get(db, task_id, 0)).status == "running"
    await append(db, [batch(task_id)], LEASE)
    assert (await closed(db, finish(task_id, last_batch=1)))[0].status == "succeeded"


async def test_the_third_loss_fails_the_job_and_the_second_waits(db):
    task_id = await create(db)
    await register(db)
    for attempt in (1, 2):
        assert await claim(db)
        await jobs.end_attempts(db, [(task_id, 0, attempt)], reason="lost", loss=True)
        if attempt == 2:
            ((waits,),) = await raw(db, "select run_after - (select max(stored_at) from ado.events) from ado.jobs")
            assert waits == timedelta(seconds=2)
            await raw(db, "update ado.jobs set run_after = run_after + interval '1 hour'")
            assert await claim(db) == []
            await raw(db, "update ado.jobs set run_after = now()")
    await claim(db)
    ended = await jobs.end_attempts(db, [(task_id, 0, 3)], reason="lost", loss=True)
    assert [attempt.status for attempt in ended] == ["failed"]
    assert await tasks.settle(db, task_id) == "failed"
    assert (await tasks.get(db, task_id)).reason == "lost"


async def test_retries_count_apart_from_losses_and_releases(db):
    task_id = await create(db, retries=1)
    await register(db)
    await claim(db)
    await closed(db, finish(task_id, "released", reason="shutdown"))
    await claim(db)
    await jobs.end_attempts(db, [(task_id, 0, 2)], reason="lost", loss=True)
    await claim(db)
    job, _ = await closed(db, finish(task_id, "failed", attempt=3, exit_code=1, reason="exit_nonzero"))
    assert job.status == "queued"
    await claim(db)
    job, _ = await closed(db, finish(task_id, "failed", attempt=4, exit_code=1, reason="exit_nonzero"))
    assert job.status == "failed"
    found = await kinds(db, task_id)
    assert found.count("released") == 1
    assert found.count("requeued") == 2
    assert found.count("finished") == 1


async def test_the_verdict_is_failed_before_cancelled_before_succeeded(db):
    task_id = await create(db, workers=3)
    await register(db)
    await claim(db)
    await closed(db, finish(task_id, "succeeded", job=0))
    await closed(db, finish(task_id, "cancelled", job=1))
    assert await tasks.settle(db, task_id) is None
    await closed(db, finish(task_id, "failed", job=2, exit_code=4, reason="exit_nonzero"))
    assert await tasks.settle(db, task_id) == "failed"
    last = (await log(db, task_id))[-1]
    assert last.type == "failed"
    assert '"job":2' in last.body


async def test_siblings_that_end_concurrently_settle_the_task_once(db):
    task_id = await create(db, workers=20)
    await register(db)
    await claim(db)

    async def end(job):
        await closed(db, finish(task_id, job=job))
        return await tasks.settle(db, task_id)

    verdicts = await asyncio.gather(*(end(job) for job in range(20)))
    assert [verdict for verdict in verdicts if verdict] == ["succeeded"]


async def test_a_terminal_state_changes_only_by_a_retry(db):
    task_id = await create(db)
    await register(db)
    await claim(db)
    await closed(db, finish(task_id, "failed", exit_code=1))
    await tasks.settle(db, task_id)
    await tasks.cancel(db, task_id, None)
    assert (await tasks.get(db, task_id)).status == "failed"
    assert await claim(db) == []
    assert await tasks.retry(db, task_id)
    assert [job.attempt for job in await claim(db)] == [2]
    await closed(db, finish(task_id, attempt=2))
    assert await tasks.settle(db, task_id) == "succeeded"
    assert not await tasks.retry(db, task_id)


async def test_a_job_left_out_of_two_heartbeats_counts_them(db):
    task_id = await create(db)
    await register(db)
    await claim(db)
    assert (await beat(db)).held[0].missed_heartbeats == 1
    assert (await beat(db, [(task_id, 0, 1)])).held[0].missed_heartbeats == 0
    await beat(db)
    assert (await beat(db)).held[0].missed_heartbeats == 2


async def test_another_instance_replaces_the_older_process(db):
    first = await register(db, instance="i1")
    assert await register(db, instance="i1") == first
    replacing = workers.Registration(
        worker_id="w1", instance="i2", capabilities=["shell"], resources=ResourceAmounts(), labels={}, slots=1
    )
    session, replaced = await workers.register(db, replacing, "session-2")
    assert (session, replaced) == ("session-2", True)
    assert await beat(db, instance="i1") is None


async def test_an_outage_of_the_control_plane_requeues_no_job(db):
    """Leases and heartbeats move by the gap before any is judged."""
    task_id = await create(db)
    await register(db)
    await claim(db)
    await raw(db, "update ado.control set last_tick_at = now() - interval '10 minutes'")
    await raw(db, "update ado.workers set last_heartbeat_at = now() - interval '9 minutes 59 seconds'")
    await raw(db, "update ado.jobs set lease_expires_at = now() - interval '9 minutes 30 seconds'")
    assert await jobs.overdue(db, SUSPECT) == []
    gap = await workers.monitor_tick(db, heartbeat=5, suspect=SUSPECT, lease=LEASE, losses=3, attempts=20)
    assert gap > 590
    assert await jobs.overdue(db, SUSPECT) == []
    assert await workers.monitor_tick(db, heartbeat=5, suspect=SUSPECT, lease=LEASE, losses=3, attempts=20) < 5
    assert (await jobs.get(db, task_id, 0)).status == "running"
    assert (await workers.listing(db))[0].state == "busy"


async def test_an_update_needs_the_current_version(db):
    task_id = await create(db)
    won = await asyncio.gather(*(tasks.update(db, task_id, 1, number, None) for number in range(10)))
    assert won.count(True) == 1
    assert (await tasks.get(db, task_id)).version == 2


async def test_a_value_is_set_only_if_its_version_matches(db):
    task_id = await create(db)
    set_ = tasks.set_value
    won = await asyncio.gather(*(set_(db, task_id, "k", n, version=0, key_limit=2) for n in range(10)))
    assert sum(value is not None for value in won) == 1
    assert await set_(db, task_id, "k", 1, version=7, key_limit=2) is None
    assert (await set_(db, task_id, "k", 1, version=1, key_limit=2)).version == 2
    assert await set_(db, task_id, "b", 1, version=None, key_limit=2)
    assert await set_(db, task_id, "c", 1, version=None, key_limit=2) is None


async def test_a_token_is_stored_as_a_digest_and_can_be_revoked(db):
    made = tokens.new("viewer", expires_seconds=60)
    row = await tokens.create(db, made)
    found = await tokens.find(db, made.token)
    assert (found.role, found.valid) == ("viewer", True)
    assert await tokens.find(db, "ado_other") is None
    await tokens.revoke(db, row["token_id"])
    assert not (await tokens.find(db, made.token)).valid


async def test_only_the_claiming_worker_gets_environment_values(db):
    task_id = await create(db, environment={"SECRET": "s3cret"})
    assert (await tasks.get(db, task_id)).env_names == ["SECRET"]
    await register(db)
    assert (await claim(db))[0].environment == {"SECRET": "s3cret"}
    assert not any("s3cret" in (event.body or "") for event in await log(db, task_id))


async def test_a_claim_is_fast_behind_many_unmatched_jobs(db):
    """The claim reads a bounded number of index entries, whatever waits in front."""
    for _ in range(20):
        await create(db, workers=1000, requires=("nothing",), priority=9)
    wanted = await create(db)
    await register(db)
    assert [job.task_id for job in await claim(db, limit=1)] == [wanted]
    touched = await raw(db, "select idx_tup_read as n from pg_stat_user_indexes where indexrelname = 'jobs_claim_idx'")
    assert touched[0]["n"] < 1000


async def test_pages_of_tasks_end_at_their_limit_or_when_they_grow_large(db):
    made = [await create(db, prompt="x" * size) for size in (10, 400, 400, 10, 10)]

    async def page(limit, bytes_, before=None):
        found, after = await tasks.page(db, limit=limit, bytes_=bytes_, before=before)
        return [task.task_id for task in found], after is not None

    newest_first = made[::-1]
    assert await page(2, 10**6) == (newest_first[:2], True)
    assert await page(5, 10**6) == (newest_first, False)
    assert await page(5, 900) == (newest_first[:2], True)  # two small ones, then one that no longer fits
    assert await page(5, 1, before=made[2]) == ([made[1]], True)  # a large one fits alone
    assert await page(5, 10**6, before=made[1]) == ([made[0]], False)
    assert await page(5, 10**6, before=made[0]) == ([], False)


async def test_one_worker_is_read_with_what_it_holds(db):
    task_id = await create(db)
    await register(db)
    await register(db, "w2")
    await claim(db)
    found = await workers.get(db, "w1")
    assert (found.worker_id, found.state, found.jobs) == ("w1", "busy", ((task_id, 0, 1),))
    assert await workers.get(db, "w3") is None
