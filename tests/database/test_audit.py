"""The audit: one row in the transaction of each change, nothing secret in it, and lists of it."""

import asyncio
import dataclasses

import asyncpg
import pytest
from msgspec import to_builtins
from support.procedures import Real

from app.access.context import Context
from app.procedures.table import registry
from db.tokens import TokenRow

SECRET = "s3cr3t-marker"
TASK = {"prompt": f"echo {SECRET}", "agent": "shell", "env": {"KEY": SECRET}, "labels": {"a": SECRET}}
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # SHA-256 of nothing


FAILING = [
    "create function ado.fail() returns trigger language plpgsql as $$ begin raise 'no audit'; end $$",
    "create trigger fail before insert on ado.audit for each row execute function ado.fail()",
]


def unaudited():
    """Return mutations that are no change by a person, with the reason."""
    stored_by_worker = "the worker protocol: the task's log says what each attempt did"
    return {
        "workers.heartbeat": stored_by_worker,
        "workers.claim": stored_by_worker,
        "workers.append": stored_by_worker,
        "workers.finish": stored_by_worker,
        "workers.delivered": stored_by_worker,
        "workers.ask": stored_by_worker,
        "workers.messages": "a worker reads the messages of its attempt; it stores nothing",
        "tasks.input": "one of any number of pieces: the row of tasks.create says who made a task that takes input",
        "files.begin": "nobody sees a file before files.commit",
        "files.write": "nobody sees a file before files.commit",
        "tasks.ask": "a job asks: the task's log has the question",
        "system.measure": "stores nothing",
        "notifications.test": "stores nothing",
    }


def cancelled(real):
    task = real.call("tasks.create", **TASK).task_id
    real.call("tasks.cancel", taskId=task)
    return task


def paused(real):
    task = real.call("tasks.create", **TASK).task_id
    real.call("tasks.pause", taskId=task)
    return task


def failing_agent(real):
    real.sql(
        "insert into ado.agent_failures (agent, failures, reason, task_id, job, attempt, probe_after) "
        "values ('codex', 1, 'auth', 1, 0, 1, now())"
    )
    return "codex"


def asked(real):
    task = real.call("tasks.create", **TASK).task_id
    session = real.call("workers.register", workerId="w1", capabilities=["shell"], instance="i").session
    real.call("workers.claim", workerId="w1", session=session)
    real.sql(
        "insert into ado.questions (task_id, job, attempt, key, kind, text, options) "
        "values ($1, 0, 1, 'k', 'text', '?', '[]')",
        int(task.removeprefix("task-")),
    )
    return "question-1"


def template(real):
    return real.call("templates.save", name="nightly", task={"prompt": SECRET}).name


def schedule(real):
    return real.call("schedules.add", cron="0 3 * * *", template=template(real)).schedule_id


def token(real):
    return real.call("tokens.create", role="viewer").token_id


def stored_caller(real):
    """Store the tokens of the caller and of one more."""
    for name in ("t", "other"):
        real.sql("insert into ado.tokens (token_id, digest, role) values ($1, $2, 'admin')", name, name.encode())


def code(real):
    stored_caller(real)
    return real.call("sessions.code").code


def in_session(real):
    stored_caller(real)
    real.be(dataclasses.replace(real.context.caller, opened_with="other"))


def user(real):
    return real.call("users.add", name="anna").user_id


def sent_file(real):
    name = "file-" + "0" * 32
    assert real.call("files.begin", fileId=name, kind="base", size=0, sha256=EMPTY).file_id == name
    return name


def with_result(real):
    task = real.call("tasks.create", **TASK).task_id
    session = real.call("workers.register", workerId="w1", capabilities=["shell"], instance="i").session
    (job,) = real.call("workers.claim", workerId="w1", session=session).jobs
    fence = {"workerId": "w1", "jobId": job.job_id, "attempt": 1}
    name = "file-" + "1" * 32
    real.call("files.begin", fileId=name, kind="result", size=0, sha256=EMPTY, **fence)
    real.call("files.commit", fileId=name)
    real.call("workers.finish", outcome="succeeded", **fence)
    return task


# path → what comes before the change, and its input, made from what that gave; the target is named by `targets`
CHANGES = {
    "tasks.create": (lambda real: None, lambda _: TASK),
    "tasks.cancel": (
        lambda real: real.call("tasks.create", **TASK).task_id,
        lambda task: {"taskId": task, "reason": SECRET},
    ),
    "tasks.pause": (
        lambda real: real.call("tasks.create", **TASK).task_id,
        lambda task: {"taskId": task, "reason": SECRET},
    ),
    "tasks.resume": (paused, lambda task: {"taskId": task}),
    "tasks.pick": (with_result, lambda task: {"taskId": task, "job": 0}),
    "tasks.retry": (cancelled, lambda task: {"taskId": task}),
    "tasks.update": (cancelled, lambda task: {"taskId": task, "version": 1, "labels": {"b": SECRET}}),
    "tasks.send": (
        lambda real: real.call("tasks.create", **TASK | {"agent": "codex"}).task_id,
        lambda task: {"taskId": task, "text": SECRET},
    ),
    "tasks.remove": (cancelled, lambda task: {"taskId": task}),
    "tasks.kvSet": (cancelled, lambda task: {"taskId": task, "key": "k", "value": SECRET}),
    "tasks.kvCas": (cancelled, lambda task: {"taskId": task, "key": "k", "value": SECRET, "version": 0}),
    "workers.register": (lambda real: None, lambda _: {"workerId": "w1", "instance": "i1", "labels": {"a": SECRET}}),
    "workers.drain": (
        lambda real: real.call("workers.register", workerId="w1", instance="i1").worker_id,
        lambda worker: {"workerId": worker},
    ),
    "questions.answer": (asked, lambda question: {"questionId": question, "text": SECRET}),
    "notifications.add": (lambda real: None, lambda _: {"url": f"http://localhost/{SECRET}"}),
    "notifications.remove": (
        lambda real: real.call("notifications.add", url="http://localhost/").target_id,
        lambda target: {"targetId": target},
    ),
    "workers.resetAgent": (failing_agent, lambda agent: {"agent": agent}),
    "templates.save": (lambda real: None, lambda _: {"name": "nightly", "task": {"prompt": SECRET}}),
    "templates.remove": (template, lambda name: {"name": name}),
    "schedules.add": (template, lambda name: {"cron": "0 3 * * *", "template": name}),
    **{
        f"schedules.{change}": (schedule, lambda schedule_id: {"scheduleId": schedule_id})
        for change in ("pause", "resume", "remove")
    },
    "workers.scale": (lambda real: None, lambda _: {"count": 1, "capabilities": ["shell"]}),
    "workers.autoscale": (lambda real: None, lambda _: {"capability": "shell", "max": 1}),
    "workers.autoscaleRemove": (
        lambda real: real.call("workers.autoscale", capability="shell", max=1).capability,
        lambda capability: {"capability": capability},
    ),
    "files.commit": (sent_file, lambda file: {"fileId": file}),
    "sessions.code": (stored_caller, lambda _: {}),
    "sessions.exchange": (code, lambda made: {"code": made}),
    "sessions.end": (in_session, lambda _: {}),
    "tokens.create": (lambda real: None, lambda _: {"role": "viewer"}),
    "tokens.revoke": (token, lambda token_id: {"tokenId": token_id}),
    "users.add": (lambda real: None, lambda _: {"name": "anna", "email": SECRET}),
    "users.set": (user, lambda user_id: {"name": user_id, "email": SECRET, "disabled": True}),
    "users.disable": (user, lambda user_id: {"name": user_id}),
    "users.limitRole": (lambda real: None, lambda _: {"role": "developer", "running": 1}),
}


OTHER_TARGETS = {"sessions.code": "t", "workers.resetAgent": "codex"}


def targets(*shapes):
    """Return what a call's input and output say that they are about."""
    names = ("taskId", "tokenId", "workerId", "fileId", "userId", "role", "targetId", "scheduleId")
    found = [found for shape in map(to_builtins, shapes) for name in names if (found := shape.get(name))]
    return found or [shape["name"] for shape in map(to_builtins, shapes) if "name" in shape]


@pytest.fixture
def real(dsn):
    made = Real(dsn, notify_hosts=("localhost",))
    yield made
    made.close()


def rows(real, where="true"):
    return real.sql(f"select * from ado.audit where {where} order by at, audit_id")


def everything(real):
    """Return the content of every table but the audit."""
    tables = real.sql(
        "select c.relname from pg_class c where c.relnamespace = 'ado'::regnamespace and c.relkind in ('r', 'p')"
        " and c.relname <> 'audit' and not c.relispartition order by 1"
    )
    return {name: real.sql(f"select t::text from ado.{name} t order by 1") for (name,) in tables}


def test_every_mutation_is_audited_or_has_a_documented_reason():
    mutations = {path for path, procedure in registry().procedures.items() if procedure.kind == "mutation"}
    assert mutations == CHANGES.keys() | (mutations & unaudited().keys())
    assert not CHANGES.keys() & unaudited().keys()


@pytest.mark.parametrize("path", sorted(CHANGES))
def test_an_audit_row_names_caller_change_and_address_without_secrets(real, path):
    before, value = CHANGES[path]
    value = value(before(real))
    earlier = {row["audit_id"] for row in rows(real)}
    result = real.call(path, **value)
    assert not isinstance(result, str), f"{path} was refused: {result}"
    (row,) = (row for row in rows(real) if row["audit_id"] not in earlier)
    assert (row["procedure"], row["outcome"], row["token_id"], row["count"]) == (path, "ok", "t", 1)
    assert row["target"] in (*targets(result, value), OTHER_TARGETS.get(path, "shell"))
    assert SECRET not in str(rows(real))


@pytest.mark.parametrize("path", sorted(CHANGES))
def test_a_change_that_cannot_be_audited_is_not_made(real, path):
    before, value = CHANGES[path]
    value = value(before(real))
    for statement in FAILING:
        real.sql(statement)
    stored = everything(real)
    with pytest.raises(asyncpg.RaiseError, match="no audit"):
        real.call(path, **value)
    assert everything(real) == stored


@pytest.mark.parametrize(
    "path", ["tasks.cancel", "tasks.pick", "tasks.remove", "tasks.retry", "workers.register", "workers.drain",
             "tokens.revoke", "files.commit"]
)  # fmt: skip
def test_a_repeated_call_without_effect_adds_no_audit_row(real, path):
    before, value = CHANGES[path]
    value = value(before(real))
    real.call(path, **value)
    real.call(path, **value)
    assert len(rows(real, f"procedure = '{path}'")) == 1


def test_the_same_idempotency_key_is_one_row(real):
    for _ in range(2):
        real.call("tasks.create", **TASK, idempotencyKey="k")
    assert [row["target"] for row in rows(real)] == ["task-1"]


def test_tasks_created_together_are_stored_together_with_a_row_each(real):
    async def create():
        procedure = real.procedures["tasks.create"]
        calls = (procedure.handler(real.context, *procedure.decode(TASK)) for _ in range(200))
        return await asyncio.gather(*calls)

    tasks = real.run(create())
    assert [row["target"] for row in rows(real)] == [task.task_id for task in tasks]
    commits = {(row["xmin"]) for row in real.sql("select xmin::text as xmin from ado.audit")}
    assert commits == {row["xmin"] for row in real.sql("select xmin::text as xmin from ado.tasks")}
    assert len(commits) <= 10


@pytest.mark.parametrize("role", ["worker", "job"])
def test_calls_with_a_job_token_add_no_audit_row(real, role):
    task = real.call("tasks.create", **TASK).task_id
    caller = dataclasses.replace(real.context.caller, role=role, worker_id="w1", task_id=1)
    context = Context(real.context.services, caller, "")
    real.context = context
    if role == "worker":
        assert real.call("workers.register", workerId="w1", instance="i1").worker_id == "w1"
    else:
        real.sql("update ado.jobs set status = 'running', attempt = 1, worker_id = 'w1', lease_expires_at = now()")
        real.context = Context(context.services, dataclasses.replace(caller, job=0, attempt=1), "")
        assert real.call("tasks.kvSet", taskId=task, key="k", value=1).version == 1
    assert [row["procedure"] for row in rows(real)] == ["tasks.create"]


def listed(real, **value):
    page = real.call("audit.list", **value)
    return [entry.target for entry in page.items], page.next_cursor


def test_a_list_is_newest_first_by_pages_and_by_user_task_and_time(real):
    for _ in range(5):
        real.call("tasks.create", **TASK)
    real.call("tasks.cancel", taskId="task-2")
    real.context = Context(real.context.services, TokenRow("u", "admin", *[None] * 6, True), "")
    real.call("tasks.cancel", taskId="task-3")
    everything_, _ = listed(real)
    assert everything_ == ["task-3", "task-2", "task-5", "task-4", "task-3", "task-2", "task-1"]
    found, cursor = [], None
    while True:
        page, cursor = listed(real, limit=2, cursor=cursor)
        found += page
        if not cursor:
            break
    assert found == everything_
    assert listed(real, taskId="task-2")[0] == ["task-2"] * 2
    assert listed(real, user="u")[0] == ["task-3"]
    assert listed(real, since=3600)[0] == everything_
    assert listed(real, since="2100-01-01T00:00:00Z")[0] == []


@pytest.mark.parametrize(
    "cursor", ["", "x", "1", "1-", "999999999999999999-1", "-1-1", "1-1\n", "\u0661-\u0661", "1" * 5000]
)
def test_a_cursor_that_no_page_gave_is_refused(real, cursor):
    assert real.call("audit.list", cursor=cursor) == "invalid_input"


def test_absent_names_are_left_out_of_the_audit_as_json(real):
    real.call("workers.scale", count=0)
    (entry,) = real.call("audit.list").items
    assert to_builtins(entry).keys() == {"auditId", "at", "outcome", "tokenId", "procedure", "target"}
