"""What one task or job makes impossible does not stop the monitor for the others."""

from support.records import claim, create, register

from app.loops import monitor
from app.settings import AppSettings
from db import jobs, tasks

SETTINGS = AppSettings(dsn="unused")


async def refuse_events_of(db, task_id):
    """Make every event of a task fail, as a missing partition would."""
    await db._pool.fetch(f"alter table ado.events add constraint refused check (task_id <> {task_id}) not valid")


async def test_a_job_that_cannot_be_ended_delays_no_other(db):
    poisoned, sound = await create(db), await create(db)
    await register(db)
    await claim(db)
    await monitor.step(db, SETTINGS)
    await refuse_events_of(db, poisoned)
    await db._pool.fetch("update ado.jobs set lease_expires_at = now() - interval '1 minute'")
    await monitor.step(db, SETTINGS)
    assert (await jobs.get(db, sound, 0)).status == "queued"
    assert (await jobs.get(db, poisoned, 0)).status == "running"


async def test_a_task_that_cannot_be_settled_delays_no_other(db):
    poisoned, sound = await create(db), await create(db)
    for task_id in (poisoned, sound):
        await db.many("cancel_task", task_id=task_id, reason=None, actor=None)  # and the replica dies before it settles
    await refuse_events_of(db, poisoned)
    await monitor.step(db, SETTINGS)
    assert (await tasks.get(db, sound)).status == "cancelled"
    assert (await tasks.get(db, poisoned)).status == "queued"


async def test_a_thousand_jobs_whose_leases_ran_out_are_ended_by_one_step(db):
    task_id = await create(db, workers=1000)
    await register(db, slots=1000)
    await claim(db, limit=1000)
    await monitor.step(db, SETTINGS)
    await db._pool.fetch("update ado.jobs set lease_expires_at = now() - interval '1 minute'")
    await monitor.step(db, SETTINGS)
    assert {job.status for job in (await tasks.get(db, task_id)).jobs} == {"queued"}
