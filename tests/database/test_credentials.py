"""What an attempt's credential and a worker's token are good for, as the statements decide it."""

import asyncio
from dataclasses import replace

import pytest
from support.records import LEASE, SUSPECT, append, batch, claim, closed, create, finish

from db import files, jobs, tokens, workers
from db.actor import Actor
from db.model import HeldAttempt, ResourceAmounts
from db.workers import Registration


async def raw(db, statement):
    """Reach into the tables, as time or an earlier release would."""
    return await db._pool.fetch(statement)


def registration(instance, worker_id="w1"):
    return Registration(
        worker_id=worker_id, instance=instance, capabilities=["shell"], resources=ResourceAmounts(8, 2**34),
        labels={}, slots=10,
    )  # fmt: skip


async def make_token(db, *, single, worker_id="w1"):
    return (await tokens.create(db, tokens.new("worker", worker_id=worker_id, single=single)))["token_id"]


async def register(db, instance, token_id, worker_id="w1"):
    """Register; whether it was taken."""
    session = f"session-{instance}"
    return await workers.register(db, registration(instance, worker_id), session, token_id=token_id) is not None


async def run(db, instance, token_id, worker_id="w1"):
    """Register and send a heartbeat; whether it was taken."""
    taken = await register(db, instance, token_id, worker_id)
    if taken:
        await db._pool.fetch(
            "update ado.workers set last_heartbeat_at = clock_timestamp() where worker_id = $1", worker_id
        )
    return taken


async def guarded(db):
    """Claim a job with a credential."""
    task_id = await create(db)
    await register(db, "i1", None)
    present = await workers.registered(db, "w1")
    (job,) = await jobs.claim(
        db,
        worker_id="w1",
        session=present.session,
        claims=present.claims,
        limit=1,
        suspect_seconds=SUSPECT,
        lease_seconds=LEASE,
        credentials=True,
    )
    return task_id, job


async def append_with(db, task_id, credential, number=1):
    return await append(db, [replace(batch(task_id, number), credential=credential)], LEASE) == [True]


async def begin(db, task_id, credential):
    fence = HeldAttempt(task_id, 0, 1, "w1", credential)
    file_id = "file-" + (credential or b"none").hex()[:32].ljust(32, "0")
    return await files.begin(db, file_id=file_id, kind="result", size=1, sha256=b"x" * 32, about=None, fence=fence)


async def test_an_attempt_with_a_credential_refuses_writes_without_it(db):
    task_id, job = await guarded(db)
    right, jobs_own = tokens.digest(job.credential), tokens.digest(job.token)
    for wrong in (None, b"", jobs_own, tokens.digest("other")):
        assert not await append_with(db, task_id, wrong)
        assert await begin(db, task_id, wrong) is None
        assert await closed(db, replace(finish(task_id), credential=wrong)) is None
    assert await append_with(db, task_id, right)
    assert await begin(db, task_id, right) is not None
    assert await closed(db, replace(finish(task_id), credential=right)) is not None
    assert not await append_with(db, task_id, right, 2)


async def test_an_attempt_without_a_credential_takes_writes_of_its_worker(db):
    """The protocol of earlier releases, whose claims ask for no credential."""
    task_id = await create(db)
    await register(db, "i1", None)
    (job,) = await claim(db)
    assert job.credential is None
    assert await append_with(db, task_id, None)
    assert await closed(db, finish(task_id)) is not None


async def test_a_credential_and_a_jobs_token_are_roles_of_their_own_and_end_with_the_attempt(db):
    task_id, job = await guarded(db)
    attempt, own = await tokens.find(db, job.credential), await tokens.find(db, job.token)
    assert (attempt.role, attempt.worker_id, attempt.task_id, attempt.job, attempt.attempt) == (
        "attempt", "w1", task_id, 0, 1,
    )  # fmt: skip
    assert (own.role, own.worker_id, own.task_id) == ("job", None, task_id)
    await closed(db, replace(finish(task_id, "released"), credential=tokens.digest(job.credential)))
    assert await tokens.find(db, job.credential) is None
    assert await tokens.find(db, job.token) is None


async def test_the_next_attempt_has_another_credential(db):
    task_id, job = await guarded(db)
    await jobs.end_attempts(db, [(task_id, 0, 1)], reason="lost", loss=True)
    await claim(db)
    assert await tokens.find(db, job.credential) is None
    assert (await jobs.get(db, task_id, 0)).credential is None


@pytest.mark.parametrize("single", [True, False])
async def test_a_second_process_with_the_same_token_is_refused(db, single):
    token = await make_token(db, single=single)
    assert await run(db, "i1", token)
    assert not await register(db, "i2", token)
    assert await register(db, "i1", token)
    assert (await workers.registered(db, "w1")).session == "session-i1"


async def test_a_process_without_a_heartbeat_is_replaced(db):
    token = await make_token(db, single=False)
    assert await register(db, "i1", token)
    assert await register(db, "i2", token)
    assert (await workers.registered(db, "w1")).session == "session-i2"


async def test_a_registration_that_is_repeated_counts_as_a_heartbeat(db):
    token = await make_token(db, single=False)
    assert await register(db, "i1", token)
    assert await register(db, "i1", token)
    assert not await register(db, "i2", token)


async def test_one_of_two_concurrent_first_registrations_is_accepted(db):
    for number in range(10):
        name = f"w{number}"
        token = await make_token(db, single=True, worker_id=name)
        taken = await asyncio.gather(*(register(db, f"i{i}", token, name) for i in range(4)))
        assert sum(taken) == 1


@pytest.mark.parametrize("end", ["stopped_at = now()", "last_heartbeat_at = now() - interval '1 hour'"])
async def test_a_process_may_replace_an_ended_one_unless_its_token_is_for_one_process(db, end):
    standing, single = await make_token(db, single=False), await make_token(db, single=True, worker_id="w2")
    assert await run(db, "i1", standing)
    assert await run(db, "i1", single, "w2")
    await raw(db, f"update ado.workers set {end}")
    assert not await register(db, "i2", single, "w2")
    assert await run(db, "i2", standing)
    assert not await register(db, "i1", standing)


async def test_a_new_token_lets_another_process_replace_the_older_one(db):
    """How an operator takes over: the first process that uses a token is not compared with those of other tokens."""
    first, second = await make_token(db, single=False), await make_token(db, single=False)
    assert await run(db, "i1", first)
    assert await workers.register(db, registration("i2"), "s2", token_id=second) == ("s2", True)
    assert await run(db, "i2", second)
    assert not await register(db, "i3", first)
    assert await register(db, "i2", first)  # the process that runs may use either


async def test_a_registration_binds_its_own_token_and_is_audited_once_a_process(db):
    first, _ = await make_token(db, single=False), await make_token(db, single=False, worker_id="w2")
    actor = Actor("workers.register", None, first, name="w1", account=first)
    for worker_id, instance in (("w2", "i0"), ("w1", "i1"), ("w1", "i1"), ("w1", "i2")):
        if instance == "i2":
            await raw(db, "update ado.workers set stopped_at = now()")
        token_id = first if worker_id == "w1" else None
        session = f"session-{instance}"
        assert await workers.register(db, registration(instance, worker_id), session, actor, token_id)
    rows = await raw(db, "select token_id, instance from ado.tokens where instance is not null")
    assert [tuple(row) for row in rows] == [(first, "i2")]
    rows = await raw(db, "select target from ado.audit where procedure = 'workers.register' order by at")
    assert [row["target"] for row in rows] == ["w2", "w1", "w1"]


async def test_a_token_of_an_earlier_release_serves_any_process(db):
    token = await make_token(db, single=False)
    await raw(db, "update ado.tokens set single = null")
    assert await register(db, "i1", token)
    assert await register(db, "i2", token)


async def test_a_token_for_one_process_is_revoked_when_that_ends(db):
    single, standing = tokens.new("worker", worker_id="w1", single=True), tokens.new("worker", worker_id="w1")
    for token in (single, standing):
        await tokens.create(db, token)
    await tokens.end_single(db, "w1")
    assert not (await tokens.find(db, single.token)).valid
    assert (await tokens.find(db, standing.token)).valid
