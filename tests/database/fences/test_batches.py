"""Which logs batches and receipts go to, and whose they must be."""

from dataclasses import replace
from functools import partial

import pytest
from support import records
from support.fences import DIGEST, changes, log, raw, send
from support.records import LEASE, batch, closed, finish

from db import messages, tokens
from db.events import NewEvent
from db.model import HeldAttempt


async def test_batches_go_to_their_own_jobs_and_logs(db):
    first, second = batch(1, data=b"one", events=2), batch(2, data=b"two", worker_id="w2")
    stored, changed = await changes(db, records.append(db, [first, second], LEASE))
    assert stored == [True, True]
    assert changed == {("job", "1", 0), ("log", "1"), ("job", "2", 0), ("log", "2")}
    rows = await raw(db, "select task_id, job, seq, data from ado.events where type = 'output' order by task_id, seq")
    assert [tuple(row) for row in rows] == [(1, 0, 5, b"one"), (1, 0, 6, b"one"), (2, 0, 3, b"two")]
    await log(db, 1)
    await log(db, 2)


@pytest.fixture(params=["append_batch", "append_batches"])
def append(request):
    """Append by the statement for one batch, and by that for several."""
    return partial(records.append, together=request.param == "append_batches")


@pytest.mark.parametrize("wrong", [{"task_id": 2}, {"job": 2}, {"attempt": 2}, {"worker_id": "w2"}, {"number": 2}])
async def test_a_batch_needs_its_job_attempt_worker_and_number(db, append, wrong):
    assert await changes(db, append(db, [replace(batch(1), **wrong)], LEASE)) == ([False], set())
    assert await append(db, [batch(1)], LEASE) == [True]
    await closed(db, finish(1))
    assert await changes(db, append(db, [batch(1, 2)], LEASE)) == ([False], set())


async def test_a_batch_counts_toward_its_job_and_its_log_and_renews_the_lease(db, append):
    """One that a change beside it, of another batch of its job, must wait for."""
    await raw(db, "update ado.jobs set lease_expires_at = now() where status = 'running'")
    given = replace(batch(1, data=b"x" * 200, events=2), dropped=7)
    assert await changes(db, append(db, [given], 60.0)) == ([True], {("job", "1", 0), ("log", "1")})
    assert await append(db, [replace(batch(1, 2), dropped=1)], 1.0) == [True]
    ((sizes, left),) = await raw(
        db,
        "select (last_batch, output_bytes, dropped_bytes)::text, lease_expires_at - now() > interval '50 s'"
        " from ado.jobs where task_id = 1 and job = 0",
    )
    assert (sizes, left) == ("(2,500,8)", True)
    assert [tuple(row) for row in await raw(db, "select last_seq from ado.task_logs where task_id = 1")] == [(7,)]


async def test_a_batch_needs_the_credential_of_its_attempt(db, append):
    await raw(db, "update ado.jobs set credential_digest = $1 where task_id = 1 and job = 0", DIGEST)
    for wrong in (None, tokens.digest("other")):
        refused = replace(batch(1), credential=wrong)
        assert await changes(db, append(db, [refused], LEASE)) == ([False], set())
    assert await append(db, [replace(batch(1), credential=DIGEST)], LEASE) == [True]


async def test_limits_refuse_output_first_and_then_other_events(db, append):
    output, (at,) = batch(1), [event.at for event in batch(1).events]
    other = replace(output, events=[NewEvent("progress", None, at, None, "{}")])

    async def stored(given, number, **limits):
        return await append(db, [replace(given, number=number)], LEASE, **limits) == [True]

    assert await stored(output, 1, output_limit=1, event_limit=200)
    assert not await stored(output, 2, output_limit=100, event_limit=200)
    assert await stored(other, 2, output_limit=100, event_limit=200)
    assert not await stored(other, 3, event_limit=200)
    assert await stored(replace(output, events=[]), 3, output_limit=0, event_limit=0)


async def test_an_empty_batch_uses_up_its_number_and_writes_no_log(db, append):
    stored, changed = await changes(db, append(db, [batch(1, events=0)], LEASE))
    assert stored == [True]
    assert changed == {("job", "1", 0)}


async def test_a_receipt_is_stored_once_for_its_own_job(db):
    await send(db, 1, [(1, 0), (1, 1)])
    await send(db, 2, [(2, 0)])
    await send(db, 3, [(1, 0)])
    receipt = HeldAttempt(1, 0, 1, "w1", None)
    assert await changes(db, messages.deliver(db, receipt, [1, 2])) == (True, {("message 1", "1", 0), ("log", "1")})
    assert await changes(db, messages.deliver(db, receipt, [1, 2])) == (True, set())
    assert (await log(db, 1))[-1] == ("delivered", 0)


@pytest.mark.parametrize("wrong", [{"task_id": 2}, {"job": 2}, {"attempt": 2}, {"worker_id": "w2"}])
async def test_a_receipt_needs_its_job_attempt_and_worker(db, wrong):
    await send(db, 1, [(1, 0)])
    right = HeldAttempt(1, 0, 1, "w1", None)
    assert await changes(db, messages.deliver(db, replace(right, **wrong), [1])) == (False, set())
    await closed(db, finish(1))
    assert await changes(db, messages.deliver(db, right, [1])) == (False, set())


async def test_a_receipt_needs_the_credential_of_its_attempt(db):
    await raw(db, "update ado.jobs set credential_digest = $1 where task_id = 1 and job = 0", DIGEST)
    for credential, accepted in ((None, False), (tokens.digest("other"), False), (DIGEST, True)):
        assert await messages.deliver(db, HeldAttempt(1, 0, 1, "w1", credential), []) is accepted
