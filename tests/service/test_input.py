"""A job's input at the server: each byte once and in order, held back, kept for another attempt, gone with the job."""

import base64
import contextlib
import dataclasses
import os

import pytest
from support.procedures import Real

from app.procedures import job_input
from app.procedures.job_input import WAITING_BYTES
from app.rpc.errors import ProcedureError
from db import inputs
from db.inputs import Progress
from db.model import HeldAttempt
from db.tokens import TokenRow

KEPT = 3000


def token(role, **values):
    return dataclasses.replace(TokenRow("t", role, None, None, None, None, None, None, True), **values)


@pytest.fixture
def real(dsn, monkeypatch):
    """A replica with a task that has input, and a worker that runs it."""
    monkeypatch.setattr(job_input, "_HELD_SECONDS", 0.05)
    made = Real(dsn, input_keep_bytes=KEPT, poll_seconds=0.02)
    try:
        made.call("tasks.create", prompt="cat", agent="shell", stdin=True, retries=3)
        yield made
    finally:
        made.close()


def send(real, offset, data=b"", end=False, **values):
    given = {"taskId": "task-1", "offset": offset, "data": base64.b64encode(data).decode(), "end": end, **values}
    answer = real.call("tasks.input", **given)
    return answer if isinstance(answer, str) else answer.acknowledged


def start(real, worker="w1", **more):
    """Have a worker claim the job; return its fence."""
    session = real.call("workers.register", workerId=worker, capabilities=["shell"], instance=worker).session
    (job,) = real.call("workers.claim", workerId=worker, session=session, **more).jobs
    assert "input:stdin" in job.requires
    return {"workerId": worker, "jobId": job.job_id, "attempt": job.attempt}


def take(real, fence, offset, size=1000, **more):
    """Return the next item of the input; the reason of a refusal."""
    item = real.call("workers.input", **fence, offset=offset, maxBytes=size, **more)
    return item if isinstance(item, str) else (base64.b64decode(item.data.data), item.data.end)


def stored(real):
    return real.sql("select coalesce(sum(octet_length(data)), 0) from ado.input_chunks")[0][0]


def again(real, fence, worker="w2"):
    """Let the attempt be handed back, and another worker take the job."""
    assert real.call("workers.finish", **fence, outcome="released").status == "queued"
    real.sql("update ado.jobs set run_after = now()")
    return start(real, worker)


def test_late_repeated_and_overlapping_calls_change_nothing_and_gaps_are_refused(real):
    assert send(real, 0, b"abc") == 3
    assert send(real, 0, b"abc") == 3
    assert send(real, 1, b"X") == 3
    assert send(real, 2, b"cde") == 5
    assert send(real, 1, b"bcdef", end=True) == 6
    assert send(real, 0, b"ab", end=True) == 6
    assert send(real, 6, end=True) == 6
    fence = start(real)
    assert take(real, fence, 0) == (b"abcdef", True)
    assert take(real, fence, 6) == (b"", True)
    assert send(real, 6, b"g") == "input_closed"


def test_a_gap_names_the_byte_that_is_missing(real):
    assert send(real, 0, b"abc") == 3
    procedure = real.procedures["tasks.input"]
    (value,) = procedure.decode({"taskId": "task-1", "offset": 4, "data": "eA==", "end": True})
    with pytest.raises(ProcedureError) as refused:
        real.run(procedure.handler(real.context, value))
    assert (refused.value.code, refused.value.reason, refused.value.data["expected"]) == ("CONFLICT", "input_gap", 3)
    assert stored(real) == 3


def test_at_most_a_mebibyte_waits_and_the_caller_learns_the_position(real):
    assert send(real, 0, b"x" * (WAITING_BYTES - 1)) == WAITING_BYTES - 1
    assert send(real, WAITING_BYTES - 1, b"yz", end=True) == WAITING_BYTES
    assert send(real, WAITING_BYTES, b"z", end=True) == WAITING_BYTES
    assert stored(real) == WAITING_BYTES
    fence = start(real)
    take(real, fence, 10)
    assert send(real, WAITING_BYTES, b"z", end=True) == WAITING_BYTES + 1
    assert take(real, fence, WAITING_BYTES) == (b"z", True)


def test_a_large_call_and_invalid_base64_are_refused(real):
    assert send(real, 0, b"x" * (WAITING_BYTES + 1)) == "limit_exceeded"
    assert real.call("tasks.input", taskId="task-1", offset=0, data="?") == "invalid_input"
    assert real.call("tasks.input", taskId="task-1", offset=0, data="\u00e4") == "invalid_input"
    assert real.call("tasks.input", taskId="task-1", offset=-1) == "invalid_input"
    assert stored(real) == 0


def test_a_reader_that_has_taken_nothing_new_sends_no_hint(real, monkeypatch):
    hints = []
    send(real, 0, b"abc")
    fence = start(real)
    monkeypatch.setattr(real.db._notifier, "notify", hints.extend)
    reader = HeldAttempt(1, 0, fence["attempt"], fence["workerId"], None)
    for offset, sent in ((0, []), (2, ["i:1/0"]), (2, []), (3, ["i:1/0"]), (3, [])):
        assert real.run(inputs.take(real.db, reader, offset=offset, keep_limit=KEPT)) == Progress(3, False)
        assert (offset, hints) == (offset, sent)
        hints.clear()


def test_a_sender_that_is_held_back_sends_no_hint(real, monkeypatch):
    hints = []
    monkeypatch.setattr(real.db._notifier, "notify", hints.extend)

    def store(offset, data, *, end=False):
        """Return what was received, whether the input has ended, and the hints."""
        hints.clear()
        options = {"end": end, "alive": True, "waiting_limit": 4}
        stored = real.run(inputs.store(real.db, 1, 0, offset=offset, data=data, **options))
        return stored.received, stored.ended, [*hints]

    assert store(0, b"abcdef", end=True) == (4, False, ["i:1/0"])
    assert store(0, b"abcdef", end=True) == (4, False, [])
    fence = start(real)
    reader = HeldAttempt(1, 0, fence["attempt"], fence["workerId"], None)
    assert real.run(inputs.take(real.db, reader, offset=4, keep_limit=KEPT)).beats == 2
    assert store(0, b"abcdef") == (6, False, ["i:1/0"])
    assert store(6, b"", end=True) == (6, True, ["i:1/0"])
    assert store(6, b"", end=True) == (6, True, [])


def test_a_call_that_is_held_back_is_one_sign_of_life(real):
    send(real, 0, b"x" * WAITING_BYTES)
    assert send(real, WAITING_BYTES, b"y", alive=True) == WAITING_BYTES
    assert real.sql("select beats from ado.inputs")[0][0] == 1


def test_another_attempt_reads_the_stored_input_from_its_beginning(real):
    data = os.urandom(KEPT)
    assert send(real, 0, data, end=True) == KEPT
    fence = start(real)
    assert take(real, fence, 2000) == (data[2000:], True)
    second = again(real, fence)
    assert take(real, fence, 0) == "lease_lost"
    assert take(real, second, 0, KEPT) == (data, True)


def test_input_that_is_no_longer_stored_fails_the_job_with_an_event(real):
    data = os.urandom(KEPT + 2000)
    send(real, 0, data[:2000])
    send(real, 2000, data[2000:])
    fence = start(real)
    assert take(real, fence, 1000, 10) == (data[1000:1010], False)
    assert stored(real) == len(data)  # whole pieces go
    assert take(real, fence, 2000, 10) == (data[2000:2010], False)
    assert stored(real) == KEPT
    second = again(real, fence)
    assert take(real, second, 0) == take(real, second, 0) == "input_lost"
    told = real.sql("select job, attempt, body ->> 'lostBytes' from ado.events where type = 'input_lost'")
    assert [tuple(row) for row in told] == [(0, 2, "2000")]
    ended = real.call("workers.finish", **second, outcome="failed", reason="input_lost")
    assert (ended.status, ended.reason) == ("failed", "input_lost")
    assert stored(real) == 0


def test_an_attempt_resumes_after_a_cut_by_the_id_of_the_last_item(real):
    send(real, 0, b"abcdef", end=True)
    fence = start(real)
    assert take(real, fence, 0, 2) == (b"ab", False)
    assert take(real, fence, 0, lastEventId="4") == (b"ef", True)
    assert take(real, fence, 0, lastEventId="x") == "invalid_input"


def test_one_subscription_without_pages_gives_all_input(real):
    """As an unmodified client reads it: what is sent counts as taken, so that more than waits at once comes through."""
    data = os.urandom(2 * WAITING_BYTES)
    fence = start(real)
    procedure = real.procedures["workers.input"]

    async def read():
        (value,) = procedure.decode(fence)
        async with contextlib.aclosing(procedure.handler(real.context, value)) as items:
            return [item async for item in items]

    reading = real.loop.create_task(read())
    offset = 0
    while offset < len(data):  # a call that was held back for long is answered with what has come
        piece = data[offset : offset + 500_000]
        offset = send(real, offset, piece, end=offset + len(piece) == len(data))
    items = real.run(reading)
    assert b"".join(base64.b64decode(item.data.data) for item in items) == data
    assert [item.data.end for item in items] == [False] * (len(items) - 1) + [True]
    assert items[-1].id == str(len(data))


def test_only_the_attempt_with_its_credential_reads_the_input(real):
    send(real, 0, b"secret")
    fence = start(real, credentials=True)
    assert take(real, fence, 0) == "credential_missing"
    assert take(real, fence, 0, credential="guess") == "credential_missing"
    assert take(real, {**fence, "attempt": 2}, 0) == "lease_lost"
    assert take(real, {**fence, "workerId": "w2"}, 0) == "lease_lost"
    real.be(token("worker", worker_id="w2"))
    assert take(real, fence, 0) == "forbidden"


def test_input_is_refused_for_a_job_that_takes_none(real):
    real.call("tasks.create", prompt="cat", agent="shell")
    assert send(real, 0, b"x", taskId="task-2") == "input_closed"
    assert send(real, 0, b"x", taskId="task-3") == "no_such_task"
    assert send(real, 0, b"x", job=1) == "no_such_job"


def test_the_end_of_the_job_deletes_its_input_and_a_retry_reports_it(real):
    send(real, 0, b"x")
    fence = start(real)
    assert real.call("workers.finish", **fence, outcome="cancelled").status == "cancelled"
    assert (stored(real), real.sql("select * from ado.inputs")) == (0, [])
    assert send(real, 1, b"y") == "input_closed"
    assert real.call("tasks.retry", taskId="task-1") == "input_lost"


@pytest.mark.parametrize("removed", [False, True])
def test_the_input_of_a_job_that_never_ran_is_removed_with_its_task_or_by_the_janitor(real, removed):
    from app.loops import janitor
    from app.settings import AppSettings

    send(real, 0, b"x")
    real.call("tasks.cancel", taskId="task-1")
    assert send(real, 1, b"y") in (2, "input_closed")
    if removed:
        assert real.call("tasks.remove", taskId="task-1").removed
    else:
        real.run(janitor.step(real.db, AppSettings(dsn="x")))
    assert (stored(real), real.sql("select * from ado.inputs")) == (0, [])


def test_every_worker_but_those_of_release_0_1_can_be_given_a_job_with_input(real):
    old = {"workerId": "old", "capabilities": ["shell"], "version": "0.1.0"}
    session = real.call("workers.register", **old).session
    assert real.call("workers.claim", workerId="old", session=session).jobs == []
    assert real.call("tasks.get", taskId="task-1").stdin
    assert start(real)
    listed = {worker.worker_id: worker.capabilities for worker in real.call("workers.list").items}
    assert listed == {"old": ["shell"], "w1": ["shell"]}  # as they registered


@pytest.mark.parametrize(("role", "found"), [("operator", 1), ("admin", 1), ("developer", "forbidden")])
def test_a_caller_that_may_cancel_a_task_may_send_its_input(real, role, found):
    real.be(token(role, token_id="another"))
    assert send(real, 0, b"x") == found


def test_a_lost_sender_that_had_reported_itself_ends_the_job_with_an_event(dsn):
    made = Real(dsn, input_silence_seconds=0.05, poll_seconds=0.02)
    with contextlib.closing(made):
        made.call("tasks.create", prompt="cat", agent="shell", stdin=True)
        assert send(made, 0, b"ab", alive=True) == 2
        fence = start(made)
        assert take(made, fence, 0) == (b"ab", False)
        assert take(made, fence, 2) == "input_lost"
        assert made.sql("select body ->> 'lostBytes' from ado.events where type = 'input_lost'")[0][0] == "0"
        assert made.call("workers.finish", **fence, outcome="failed", reason="input_lost").status == "failed"


def test_every_call_with_the_flag_counts_as_a_sign_of_the_sender(real):
    beats = []
    for alive in (True, False, True, True):
        assert send(real, 0, alive=alive) == 0
        beats += real.sql("select beats from ado.inputs")[0]
    assert beats == [1, 1, 2, 3]


def test_only_a_sender_that_reported_itself_can_be_lost(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(job_input.time, "monotonic", lambda: now[0])
    never, once, off = job_input._Silence(60), job_input._Silence(60), job_input._Silence(0)
    for at, beats, gone in ((0, 1, False), (59, 1, False), (59, 2, False), (118, 2, False), (119, 2, True)):
        now[0] = at
        assert [never.is_too_long(0), once.is_too_long(beats), off.is_too_long(beats)] == [False, gone, False]
