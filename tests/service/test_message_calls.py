"""Messages at the server: what is stored once, what is refused and why, and the receipts, called step by step."""

import asyncio
import dataclasses

import msgspec
import pytest
from support.procedures import Real

from app.procedures import messages
from app.rpc.errors import ProcedureError
from db import jobs
from db import messages as rows
from db.tokens import TokenRow

LARGEST = 2**20


def token(role, **values):
    return dataclasses.replace(TokenRow("t", role, None, None, None, None, None, None, True), **values)


@pytest.fixture
def real(dsn):
    """A replica, with a task of an agent that no worker has claimed."""
    made = Real(dsn, poll_seconds=0.02)
    try:
        made.call("tasks.create", prompt="p", agent="codex", workspace={})
        yield made
    finally:
        made.close()


def send(real, text="words", **values):
    return real.call("tasks.send", taskId="task-1", text=text, **values)


def start(real, worker="w1", **more):
    """Have a worker claim a job; return its fence and the job."""
    session = real.call("workers.register", workerId=worker, capabilities=["codex"], instance=worker).session
    (job,) = real.call("workers.claim", workerId=worker, session=session, **more).jobs
    fence = {"workerId": worker, "jobId": job.job_id, "attempt": job.attempt}
    return ({**fence, "credential": job.credential} if more else fence), job, session


def finish(real, fence, outcome="succeeded"):
    return real.call("workers.finish", **fence, outcome=outcome).status


def deliver(real, fence, *names):
    return real.call("workers.delivered", **fence, messageIds=list(names))


def types(real):
    return [row["type"] for row in real.sql("select type from ado.events where task_id = 1 order by seq")]


def keep_session(real, job=0):
    """Store a checkpoint as an attempt does."""
    real.sql(
        "insert into ado.files (file_id, kind, task_id, job, attempt, worker_id, size, sha256, completed_at)"
        " values ('file-0', 'checkpoint', 1, $1, 1, 'w1', 0, sha256(''), now())", job,
    )  # fmt: skip


def explain(real, **values):
    """Return the error of a message that is refused."""
    procedure = real.procedures["tasks.send"]
    with pytest.raises(ProcedureError) as raised:
        real.run(procedure.handler(real.context, *procedure.decode({"taskId": "task-1", "text": "words", **values})))
    return raised.value


def test_a_message_to_all_jobs_says_so_with_null(real):
    real.be(token("operator", token_id="tok-9"))
    answer = msgspec.to_builtins(send(real))
    assert (answer["job"], answer["by"]) == (None, "tok-9")
    assert "deliveredAt" not in answer


def test_a_key_sends_a_message_once_and_no_other_message(real):
    first = send(real, idempotencyKey="k")
    assert send(real, idempotencyKey="k").message_id == first.message_id
    assert types(real) == ["created", "message"]
    assert send(real, "other", idempotencyKey="k") == "idempotency_conflict"
    assert send(real, job=0, idempotencyKey="k") == "idempotency_conflict"
    real.be(token("operator", token_id="tok-9"))
    assert send(real, idempotencyKey="k") == "idempotency_conflict"
    assert types(real) == ["created", "message"]


@pytest.mark.parametrize(
    ("values", "reason", "says", "step"),
    [
        ({"text": " \n"}, "invalid_input", "empty", "write"),
        ({"text": "a\x1b[31m"}, "invalid_input", "U+001B at position 1", "tab, CR and LF"),
        ({"text": "nul\0"}, "invalid_input", "U+0000", "tab, CR and LF"),
        ({"text": "x" * (LARGEST + 1)}, "limit_exceeded", str(LARGEST), "send less"),
        ({"taskId": "task-9"}, "no_such_task", "task-9", "ado tasks list"),
        ({"taskId": "nonsense"}, "no_such_task", "nonsense", "ado tasks list"),
        ({"job": 5}, "no_such_job", "task-1/5", "ado tasks show"),
    ],
)
def test_what_cannot_be_sent_is_one_error_with_its_next_step(real, values, reason, says, step):
    error = explain(real, **values)
    assert error.reason == reason
    assert says in error.message
    assert step in error.hint
    assert types(real) == ["created"]


def test_a_message_of_a_mebibyte_is_delivered_complete(real):
    text = "ü" * (LARGEST // 2)
    send(real, text)
    fence, job, _ = start(real)
    assert job.messages == 1
    page = real.call("workers.messages", **fence)
    assert [words.text for words in page.items] == [text]
    assert real.call("workers.messages", **fence, after=page.next).items == []


def test_a_shell_takes_no_messages(real):
    real.call("tasks.create", prompt="true", agent="shell")
    error = explain(real, taskId="task-2")
    assert (error.reason, "ado run -i" in error.hint) == ("takes_no_messages", True)


def test_a_cancelled_job_takes_no_messages_and_one_that_waits_is_refused_until_a_retry(real):
    send(real)
    real.call("tasks.cancel", taskId="task-1")
    error = explain(real)
    assert (error.reason, "cancelled" in error.message, "ado retry" in error.hint) == ("takes_no_messages", True, True)
    assert [item.state for item in real.call("tasks.messages", taskId="task-1").items] == ["refused"]
    real.call("tasks.retry", taskId="task-1")
    assert [item.state for item in real.call("tasks.messages", taskId="task-1").items] == ["waiting"]
    assert start(real)[1].messages == 1


def test_a_job_that_is_being_stopped_takes_no_messages(real):
    start(real)
    real.call("tasks.cancel", taskId="task-1")
    assert explain(real).reason == "takes_no_messages"


def test_an_ended_job_without_a_session_is_refused_and_one_with_a_session_is_queued_again(real):
    fence, _, _ = start(real)
    finish(real, fence)
    error = explain(real)
    assert (error.reason, "no session" in error.message) == ("session_not_kept", True)
    keep_session(real)
    send(real)
    assert real.call("tasks.get", taskId="task-1").status == "queued"
    assert types(real)[-3:] == ["succeeded", "message", "continued"]
    _, job, _ = start(real)
    assert (job.attempt, job.continues, job.messages) == (2, True, 1)


def test_an_ended_job_whose_environment_is_deleted_is_refused(real):
    real.call("tasks.create", prompt="p", agent="codex", workspace={}, env={"A": "1"})
    real.call("tasks.cancel", taskId="task-1")
    fence, _, _ = start(real)
    finish(real, fence)
    assert explain(real, taskId="task-2").reason == "environment_forgotten"


def test_messages_are_limited_by_sender_and_by_task(real, monkeypatch):
    monkeypatch.setattr(messages, "WAITING_MESSAGES", 2)
    monkeypatch.setattr(messages, "TASK_MESSAGES", 3)
    send(real)
    send(real)
    error = explain(real)
    assert (error.reason, "2 of yours wait" in error.message) == ("limit_exceeded", True)
    real.be(token("operator", token_id="tok-9"))
    send(real)
    assert explain(real).reason == "limit_exceeded"
    assert len(real.call("tasks.messages", taskId="task-1").items) == 3


def test_a_receipt_is_stored_once_and_only_of_the_attempt_that_runs(real):
    name = send(real).message_id
    fence, _, _ = start(real, credentials=True)
    assert deliver(real, {**fence, "attempt": 2}, name) == "lease_lost"
    assert deliver(real, {**fence, "workerId": "w2"}, name) == "lease_lost"
    assert deliver(real, {**fence, "credential": "x"}, name) == "credential_missing"
    assert real.call("workers.messages", **{**fence, "credential": "x"}) == "credential_missing"
    assert "delivered" not in types(real)
    for _ in range(2):
        assert deliver(real, fence, name, "message-99", "nonsense").message_ids[0] == name
    assert types(real).count("delivered") == 1
    (message,) = real.call("tasks.messages", taskId="task-1").items
    assert (message.state, message.jobs[0].attempt, message.delivered_at is not None) == ("delivered", 1, True)
    assert real.call("workers.messages", **fence, undelivered=True).items == []
    assert len(real.call("workers.messages", **fence).items) == 1  # an attempt that begins anew needs all of them


def test_a_command_is_repeated_on_each_stream_until_its_receipt(real):
    fence, _, session = start(real)
    name = send(real, "now").message_id
    wish = {"workerId": "w1", "session": session}
    for _ in range(2):
        command = real.call("workers.commands", **wish).data
        assert (command.type, command.job_id, command.attempt) == ("message", "task-1/0", 1)
        assert (command.message.message_id, command.message.text) == (name, "now")
    deliver(real, fence, name)
    real.call("workers.drain", workerId="w1")
    assert real.call("workers.commands", **wish).data.type == "drain"


def test_a_worker_of_the_release_0_1_gets_a_message_only_if_it_says_so(real):
    """It would take the unknown command for the loss of the job."""
    _, _, session = start(real)
    send(real)
    real.call("workers.drain", workerId="w1")
    wish = {"workerId": "w1", "session": session}
    assert real.call("workers.commands", **wish, messages=False).data.type == "drain"
    real.sql("update ado.workers set version = '0.1.0'")
    assert real.call("workers.commands", **wish).data.type == "drain"
    real.sql("update ado.workers set draining = false")
    assert real.call("workers.commands", **wish, messages=True).data.type == "message"


def test_an_attempt_that_ends_with_a_message_from_its_time_continues_the_job_once(real):
    fence, _, _ = start(real)
    name = send(real).message_id
    assert finish(real, fence) == "queued"
    assert finish(real, fence) == "queued"  # a repeated report changes nothing
    assert types(real).count("continued") == 1
    assert "finished" not in types(real)
    again, job, _ = start(real)
    assert (job.attempt, job.continues) == (2, True)
    assert finish(real, again, "failed") == "failed"  # its agent never took the message: there is no third attempt
    (message,) = real.call("tasks.messages", taskId="task-1").items
    assert (message.message_id, message.state) == (name, "waiting")


def test_an_attempt_whose_agent_took_its_messages_ends(real):
    fence, _, _ = start(real)
    deliver(real, fence, send(real).message_id)
    assert finish(real, fence) == "succeeded"


def test_a_message_that_races_with_the_end_of_its_attempt_is_not_lost(real):
    """Whichever comes first: the job continues, or the message is refused because the job has ended."""
    real.call("tasks.cancel", taskId="task-1")
    outcomes = set()
    for number in range(2, 42):
        real.call("tasks.create", prompt="p", agent="codex", workspace={})
        fence, _, _ = start(real)
        report = jobs.Finish(task_id=number, job=0, attempt=fence["attempt"], worker_id="w1", outcome="succeeded")

        async def both(number=number, report=report):
            limits = {"task_limit": 9, "waiting_limit": 9}
            sent = rows.send(real.db, number, None, "x", idempotency_key=None, **limits)
            return await asyncio.gather(*(sent, jobs.finish_all(real.db, [report]))[:: 1 if number % 2 else -1])

        answers = real.run(both())
        message, (closed,) = answers if number % 2 else answers[::-1]
        assert (message is None) == (closed[0].status == "succeeded"), number
        outcomes.add(closed[0].status)
        real.call("tasks.cancel", taskId=f"task-{number}")
    assert "queued" in outcomes


def test_messages_go_with_their_task(real):
    send(real)
    real.call("tasks.cancel", taskId="task-1")
    real.call("tasks.remove", taskId="task-1")
    assert real.sql("select from ado.messages union all select from ado.message_jobs") == []


def test_messages_are_listed_by_pages(real):
    names = [send(real, str(number)).message_id for number in range(5)]
    page = real.call("tasks.messages", taskId="task-1", limit=3)
    assert [item.message_id for item in page.items] == names[:3]
    rest = real.call("tasks.messages", taskId="task-1", limit=3, cursor=page.next_cursor)
    assert [item.message_id for item in rest.items] == names[3:]
    assert real.call("tasks.messages", taskId="task-1", cursor="x") == "invalid_input"
    assert real.call("tasks.messages", taskId="task-9") == "no_such_task"


def test_a_developer_sends_only_to_own_tasks(real):
    real.be(token("developer", token_id="tok-9"))
    assert send(real) == "forbidden"
