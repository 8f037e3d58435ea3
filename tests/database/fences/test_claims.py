"""What a claim takes and what it leaves, beside other workers, pods and users."""

import pytest
from support.fences import changes, claimed, log, raw, send
from support.records import LEASE, SUSPECT, claim, closed, create, finish, register

from db import jobs, users
from db.actor import Actor
from db.model import ResourceAmounts
from db.users import UserLimits


@pytest.mark.parametrize("wrong", [{"session": "other"}, {"claims": 7}, {"worker_id": "w1"}])
async def test_a_claim_needs_its_worker_session_and_number(db, wrong):
    right = {"worker_id": "w3", "session": await register(db, "w3"), "claims": 0, "limit": 9}
    times = {"suspect_seconds": SUSPECT, "lease_seconds": LEASE}
    assert await changes(db, jobs.claim(db, **right | wrong, **times)) == (None, set())
    assert len(await jobs.claim(db, **right, **times)) == 1


async def test_a_claim_counts_for_one_worker_even_if_sessions_are_equal(db):
    await register(db, "w3")
    await raw(db, "update ado.workers set session = 's', claims = 0")
    assert await claimed(db, "w3") == [(2, 1)]
    assert [row["worker_id"] for row in await raw(db, "select worker_id from ado.workers where claims > 0")] == ["w3"]


@pytest.mark.parametrize(
    "state", ["draining = true", "stopped_at = now()", "last_heartbeat_at = now() - interval '1 minute'"]
)
async def test_a_worker_that_drains_has_ended_or_is_silent_claims_nothing(db, state):
    await register(db, "w3")
    await raw(db, f"update ado.workers set {state} where worker_id = 'w3'")
    assert await changes(db, claim(db, "w3")) == (None, set())


async def test_a_worker_s_slots_are_taken_by_what_it_runs_itself(db):
    await create(db)
    await register(db, "w3", slots=1)
    assert await claimed(db, "w3") == [(2, 1)]
    assert await claimed(db, "w3") == []
    await closed(db, finish(2, job=1, worker_id="w3"))
    assert await claimed(db, "w3") == [(3, 0)]


@pytest.mark.parametrize("wish", [ResourceAmounts(cpu=5), ResourceAmounts(memory=5), ResourceAmounts(gpu=5)])
async def test_the_jobs_of_one_claim_fit_the_worker_together(db, wish):
    await create(db, workers=2, resources=wish)
    await register(db, "w3", resources=ResourceAmounts(8, 8, 8))
    assert await claimed(db, "w3") == [(2, 1), (3, 0)]
    assert await claimed(db, "w3") == []


async def test_only_what_a_worker_runs_itself_takes_its_resources(db):
    machine = ResourceAmounts(8, 8, 8)
    await create(db, workers=3, resources=machine)
    for worker_id in ("w3", "w4"):
        await register(db, worker_id, resources=machine)
    await claimed(db, "w3", 1)
    assert await claimed(db, "w3", 1) == [(3, 0)]
    assert await claimed(db, "w4") == [(3, 1)]
    assert await claimed(db, "w3") == []
    await closed(db, finish(3, worker_id="w3"))
    assert await claimed(db, "w3") == [(3, 2)]


async def test_a_claim_changes_its_jobs_and_what_belongs_to_them(db):
    for _ in range(2):
        await create(db, workers=2)
    await register(db, "w3")
    given, changed = await changes(db, claimed(db, "w3", limit=2))
    assert given == [(2, 1), (3, 0)]
    assert changed == {
        ("worker", "w3"), ("job", "2", 1), ("log", "2"), ("job", "3", 0), ("log", "3"), ("task", "3"),
    }  # fmt: skip
    assert await log(db, 2) == [("created", None), ("started", 0), ("started", 1)]
    assert await log(db, 3) == [("created", None), ("started", 0)]


async def test_a_claimed_job_is_told_of_its_own_messages(db):
    await create(db, workers=2)
    await send(db, 1, [(2, 1), (3, 1)])
    await send(db, 2, [(2, 1), (2, 0)])
    await register(db, "w3")
    assert [(job.task_id, job.job, job.messages) for job in await claim(db, "w3", limit=2)] == [(2, 1, 2), (3, 0, 0)]


async def add_pod(db, name, task_id=None, job=None, state="placed"):
    statement = """insert into ado.pods (name, decision, namespace, task_id, job, state)
                   select $1, count(*) + 1, 'ns', $2, $3, $4 from ado.pods"""
    await raw(db, statement, name, task_id, job, state)


async def test_a_pod_claims_its_own_job_once_and_no_other(db):
    await create(db, workers=2)
    await add_pod(db, "pod-1", 3, 1)
    await add_pod(db, "pod-2")
    await register(db, "pod-1")
    given, changed = await changes(db, claimed(db, "pod-1"))
    assert given == [(3, 1)]
    assert changed == {("worker", "pod-1"), ("pod", "pod-1"), ("job", "3", 1), ("log", "3"), ("task", "3")}
    await closed(db, finish(3, "released", job=1, worker_id="pod-1"))
    assert await claimed(db, "pod-1") == []


async def test_a_warm_pod_claims_one_job(db):
    await create(db)
    for name in ("pod-1", "pod-2"):
        await add_pod(db, name)
    await register(db, "pod-1")
    assert await claimed(db, "pod-1") == [(2, 1)]
    assert await claimed(db, "pod-1") == []


async def test_a_worker_claims_several_jobs_beside_pods(db):
    await create(db, workers=2)
    for name in ("pod-1", "pod-2"):
        await add_pod(db, name)
    await register(db, "w3")
    assert await claimed(db, "w3") == [(2, 1), (3, 0), (3, 1)]


@pytest.mark.parametrize(
    "change",
    [
        "update ado.pods set state = 'ending'",
        "update ado.jobs set run_after = now() + interval '1 hour' where status = 'queued'",
        "update ado.jobs set status = 'cancelled', finished_at = now() where status = 'queued'",
        "update ado.workers set capabilities = '{}' where worker_id = 'pod-1'",
        "update ado.workers set cpu = 0.5 where worker_id = 'pod-1'",
    ],
)
async def test_a_pod_claims_nothing_while_its_job_cannot_start_there(db, change):
    await create(db, resources=ResourceAmounts(1, 1))
    await add_pod(db, "pod-1", 3, 0)
    await register(db, "pod-1")
    await raw(db, change)
    assert await claimed(db, "pod-1") == []


async def test_a_pod_waits_for_the_limit_of_its_user(db):
    anna = await users.add(
        db, "anna", "developer", email=None, external_id=None, limits=UserLimits(running=0), actor=None
    )
    await create(db, actor=Actor("tasks.create", f"user-{anna.user_id}", None, name="anna"))
    await add_pod(db, "pod-1", 3, 0)
    await register(db, "pod-1")
    assert await claimed(db, "pod-1") == []
    await users.change(db, anna.user_id, limits=UserLimits(running=1), actor=None)
    assert await claimed(db, "pod-1") == [(3, 0)]
