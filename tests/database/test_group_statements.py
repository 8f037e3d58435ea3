"""Statements that store what many callers sent: each of them gets what it would have got alone."""

import asyncio

from support.records import append, batch, claim, create, finish, new_task, register

from app.loops.finish_batcher import FinishBatcher
from db import events, jobs, tasks


async def log_of(db, task_id):
    page = await events.page(db, task_id, 0, row_limit=1000, byte_limit=1 << 20)
    assert [event.seq for event in page.events] == list(range(1, len(page.events) + 1))
    return [(event.type, event.job) for event in page.events]


async def test_each_report_of_a_flush_is_judged_separately(db):
    wide, single, silent = await create(db, workers=2), await create(db), await create(db)
    await register(db)
    await claim(db)
    await append(db, [batch(silent)], 30)
    reports = [
        finish(single),
        finish(wide, "failed", job=1, exit_code=3, reason="exit_nonzero"),
        finish(wide, job=0),
        finish(silent, last_batch=2),
        finish(single + 1000),
        finish(silent, attempt=2),
    ]
    found = await jobs.finish_all(db, reports)
    assert [item and item[0].status for item in found[:3]] == ["succeeded", "failed", "succeeded"]
    assert found[1][0].exit_code == 3
    assert found[3:] == [None, None, None]
    assert await log_of(db, wide) == [
        ("created", None), ("started", 0), ("started", 1), ("finished", 0), ("finished", 1),
    ]  # fmt: skip
    assert await tasks.settle_all(db, [wide, single, silent]) == {wide: "failed", single: "succeeded"}
    assert await tasks.settle_all(db, [wide, single, silent]) == {}
    ended = await tasks.get(db, wide)
    assert (ended.status, ended.reason, ended.failed_job) == ("failed", "exit_nonzero", 1)


async def test_siblings_that_end_together_settle_their_task_once(db):
    task_id = await create(db, workers=40)
    await register(db)
    await claim(db)
    replicas = [FinishBatcher(db), FinishBatcher(db)]
    await asyncio.gather(*(replicas[job % 2].close_attempt(finish(task_id, job=job)) for job in range(40)))
    kinds = [kind for kind, _ in await log_of(db, task_id)]
    assert kinds.count("finished") == 40
    assert kinds[-1] == "succeeded"
    assert kinds.count("succeeded") == 1


async def test_a_failed_job_stops_its_siblings_in_any_flush(db):
    strict, other = await create(db, workers=2, on_failure="fail_fast"), await create(db)
    await register(db)
    await claim(db)
    batcher = FinishBatcher(db)
    await asyncio.gather(batcher.close_attempt(finish(strict, "failed", job=0)), batcher.close_attempt(finish(other)))
    assert (await jobs.get(db, strict, 1)).stop_reason == "sibling_failed"
    assert (await tasks.get(db, other)).status == "succeeded"


async def test_tasks_created_together_stay_separate(db):
    wishes = [
        new_task(prompt="one", environment={"A": "1"}, labels={"team": "web"}, agent_args={"text": "a\0b"}),
        new_task(prompt="two", workers=3, requires=("gpu",), idempotency_key="k", digest=b"\1"),
        new_task(prompt="three", idempotency_key="k", digest=b"\1"),
    ]
    one, two, three = await tasks.create_all(db, wishes)
    assert three is None
    assert one == await tasks.get(db, one.task_id)
    assert two == await tasks.get(db, two.task_id)
    assert (one.prompt, two.prompt) == ("one", "two")
    assert await tasks.create_all(db, wishes[1:]) == [None, None]
    assert await log_of(db, two.task_id) == [("created", None)]
