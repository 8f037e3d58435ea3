"""A developer tries to reach what belongs to others, by every procedure that a developer may call."""

import hashlib

import msgspec
import orjson
import pytest
from support.procedures import Real

from app.access.auth import ROLE_MAY
from app.procedures.table import registry
from db.tokens import TokenRow

VICTIM = {"taskId": "task-1"}
FILE = "file-" + "a" * 32
DATA = b"what the agent brought back"
PENDING = "file-" + "b" * 32

SEES = {
    "tasks.get": VICTIM,
    "tasks.kvGet": VICTIM | {"key": "plan"},
    "tasks.kvList": VICTIM,
    "files.list": VICTIM,
    "tasks.messages": VICTIM,
    "tasks.search": VICTIM | {"text": "x"},
    "files.read": {"fileId": FILE},
    "stream.taskEvents": VICTIM,
    "stream.taskOutput": VICTIM,
    "stream.taskProgress": VICTIM,
}
CHANGES = {
    "tasks.cancel": VICTIM,
    "tasks.retry": VICTIM,
    "tasks.pause": VICTIM,
    "tasks.pick": VICTIM | {"job": 0},
    "tasks.resume": VICTIM | {"text": "stop"},
    "tasks.update": VICTIM | {"version": 1, "priority": 9},
    "tasks.remove": VICTIM,
    "tasks.send": VICTIM | {"text": "stop"},
    "tasks.input": VICTIM | {"offset": 0, "data": "AA=="},
    "tasks.kvSet": VICTIM | {"key": "plan", "value": "mine"},
    "tasks.kvCas": VICTIM | {"key": "plan", "value": "mine", "version": 1},
    "questions.answer": {"questionId": "question-1", "text": "mine"},
}
OWN = {
    "notifications.add", "notifications.list", "notifications.remove", "notifications.test", "schedules.add",
    "schedules.list", "schedules.pause", "schedules.resume", "schedules.remove",
}  # fmt: skip
"""What works on the caller's own targets and schedules alone."""
TEMPLATES = {"templates.save", "templates.get", "templates.list", "templates.remove"}
LISTS = {
    "tasks.list": {},
    "questions.list": {},
    "workers.list": {},
    "workers.status": {},
    "stream.systemEvents": {},
    "users.whoami": {},
    "system.health": {},
    "stats.series": {},
}
CREATES = {
    "tasks.create": {"prompt": "victim", "agent": "shell", "idempotencyKey": "victims"},
    "files.begin": {"fileId": FILE, "kind": "result", "size": len(DATA), "sha256": hashlib.sha256(DATA).hexdigest()},
    "files.write": {"fileId": FILE, "offset": 0, "data": "AA=="},
    "files.commit": {"fileId": FILE},
}
SESSIONS = {"sessions.code", "sessions.exchange", "sessions.end"}
"""These are about the caller's own token; ``tests/service/test_browser_sessions.py`` tests them."""


def user(number, role="developer"):
    return TokenRow(f"tok-{number}", role, None, None, None, None, None, None, True, number, f"user{number}", "laptop")


ADMIN, VICTIMS_OWNER, ATTACKER = user(1, "admin"), user(2), user(3)


def everything(answer):
    """Return the whole answer as text."""
    return orjson.dumps(answer, default=msgspec.to_builtins).decode()


@pytest.fixture(params=[False, True], ids=["shared", "private"])
def real(dsn, request):
    """A replica with a running task of one user that has a value, a result and a worker, and another user calling."""
    made = Real(dsn, private_tasks=request.param)
    made.private = request.param
    try:
        made.sql(
            """insert into ado.users (name, role)
               values ('user1', 'admin'), ('user2', 'developer'), ('user3', 'developer')"""
        )
        made.be(VICTIMS_OWNER)
        assert made.call("tasks.create", **CREATES["tasks.create"]).task_id == "task-1"
        made.call("tasks.kvSet", taskId="task-1", key="plan", value="theirs")
        made.be(ADMIN)
        session = made.call("workers.register", workerId="w1", capabilities=["shell"], instance="i").session
        assert made.call("workers.claim", workerId="w1", session=session).jobs[0].task_id == "task-1"
        made.sql(
            """insert into ado.files (file_id, kind, task_id, job, attempt, worker_id, size, sha256, completed_at)
               values ($1, 'result', 1, 0, 1, 'w1', $2, $3, now())""",
            FILE, len(DATA), hashlib.sha256(DATA).digest(),
        )  # fmt: skip
        made.sql(
            "insert into ado.questions (task_id, job, attempt, key, kind, text, options) "
            "values (1, 0, 1, 'k', 'text', '?', '[]')"
        )
        made.sql(
            "insert into ado.notification_targets (url, format, events, mine, secret, created_by)"
            " values ('https://a.test/', 'json', '{failed}', true, '{}', 'user-2')"
        )
        made.sql("""insert into ado.templates (name, task, saved_by) values ('t', '{"prompt": "victim"}', 'user-2')""")
        made.sql(
            "insert into ado.schedules (template_id, cron, timezone, missed, overlap, created_by, after_at, next_at)"
            " values (1, '0 3 * * *', 'UTC', 'once', 'skip', 'user-2', now(), now() + interval '1 day')"
        )
        made.sql("insert into ado.file_chunks (file_id, number, data) values ($1, 0, $2)", FILE, DATA)
        made.be(ATTACKER)
        yield made
    finally:
        made.close()


def test_every_procedure_of_a_developer_is_tested():
    """A procedure that is new must say what it does with tasks of others."""
    may = {path for path, procedure in registry().procedures.items() if procedure.access in ROLE_MAY["developer"]}
    assert may == SEES.keys() | CHANGES.keys() | LISTS.keys() | CREATES.keys() | OWN | TEMPLATES | SESSIONS


def test_tasks_of_others_are_visible_only_where_tasks_are_shared(real):
    for path, value in SEES.items():
        found = refusal_of(real, path, value)
        if real.private:
            assert found in ("no_such_task", "no_such_file"), path
        else:
            assert not isinstance(found, str), path


def refusal_of(real, path, value):
    """Return the reason of a refusal, or what the call or stream gives (None: a stream that ends without an item)."""
    if path.startswith("stream."):
        value = {**value, "follow": False}
    try:
        return real.call(path, **value)
    except StopAsyncIteration:
        return None


def test_tasks_of_others_cannot_be_changed(real):
    names = ("tasks", "task_values", "questions", "notification_targets", "templates", "schedules")
    tables = [f"select *, t::text from ado.{name} t" for name in names]
    before = [real.sql(table) for table in tables]
    for path, value in CHANGES.items():
        hidden = "no_such_question" if path == "questions.answer" else "no_such_task"
        assert real.call(path, **value) == (hidden if real.private else "forbidden"), path
    for path in ("notifications.remove", "notifications.test"):
        assert real.call(path, targetId="notify-1") == "no_such_target"
    for path in ("schedules.pause", "schedules.resume", "schedules.remove"):
        assert real.call(path, scheduleId="schedule-1") == "no_such_schedule"
    task = {"prompt": "mine", "agent": "shell"}
    assert real.call("templates.save", name="t", task=task, overwrite=True) == "forbidden"
    assert real.call("templates.remove", name="t") == ("no_such_template" if real.private else "forbidden")
    assert [real.sql(table) for table in tables] == before


def test_templates_of_others_are_used_only_where_tasks_are_shared(real):
    for path in ("templates.get", "schedules.add"):
        found = real.call(path, name="t", template="t", cron="0 3 * * *")
        assert (found == "no_such_template") is real.private, path
    assert ("victim" in everything(real.call("templates.list"))) is not real.private
    assert "user-2" not in everything(real.call("schedules.list"))
    assert real.call("templates.save", name="copy", fromTask="task-1") == "no_such_task" or not real.private


def test_lists_name_others_only_where_tasks_are_shared(real):
    told = {path: "task-1" in everything(real.call(path, **value)) for path, value in LISTS.items()}
    shows = {"tasks.list", "questions.list", "workers.list", "workers.status", "stream.systemEvents"}
    assert told == {path: path in shows and not real.private for path in LISTS}
    named = everything(real.call("tasks.list", createdBy="user2"))
    assert ("task-1" in named) is not real.private
    assert "task-1" not in everything(real.call("tasks.list", mine=True))
    assert real.call("tasks.list", createdBy="user2", mine=True).items == []


def test_what_a_developer_creates_does_not_affect_others(real):
    assert real.call("tasks.create", **CREATES["tasks.create"]) == "idempotency_conflict"
    for path in ("files.begin", "files.write", "files.commit"):
        assert isinstance(real.call(path, **CREATES[path]), str), path
    assert real.sql("select count(*) as n from ado.tasks")[0]["n"] == 1


def test_a_file_that_no_task_has_taken_is_not_read_by_others(real):
    real.sql(
        """insert into ado.files (file_id, kind, size, sha256, completed_at) values ($1, 'base', 0, $2, now())""",
        PENDING, hashlib.sha256(b"").digest(),
    )  # fmt: skip
    assert (real.call("files.read", fileId=PENDING) == "no_such_file") is real.private


def test_the_owner_may_do_each_of_these_calls(real):
    real.be(VICTIMS_OWNER)
    for path, value in SEES.items():
        assert not isinstance(refusal_of(real, path, {**value, "follow": False} if "stream" in path else value), str), (
            path
        )
    assert real.call("tasks.list", mine=True).items[0].created_by == "user2"
    assert "task-1" in everything(real.call("workers.list"))
    assert real.call("tasks.update", **CHANGES["tasks.update"]).priority == 9
    assert real.call("tasks.cancel", taskId="task-1").task_id == "task-1"
    bodies = {row["type"]: orjson.loads(row["body"]) for row in real.sql("select type, body from ado.events")}
    assert bodies["created"]["by"] == bodies["cancel_requested"]["by"] == "user2"
    assert real.call("tasks.remove", taskId="task-1") == "task_running"


def test_a_task_starts_after_one_of_others_only_where_that_is_visible(real):
    made = real.call("tasks.create", prompt="x", after=["task-1"])
    assert (made if isinstance(made, str) else made.waits_for) == ("no_such_task" if real.private else ["task-1"])


def test_an_operator_acts_on_every_task(real):
    real.be(user(3, "operator"))
    assert real.call("tasks.update", **CHANGES["tasks.update"]).priority == 9
    assert real.call("tasks.get", taskId="task-1").created_by == "user2"


def test_a_service_owns_what_its_own_token_created(real):
    mine = TokenRow("tok-ci", "developer", None, None, None, None, None, None, True, None, None, "ci")
    other = TokenRow("tok-ci2", "developer", None, None, None, None, None, None, True, None, None, "ci")
    real.be(mine)
    made = real.call("tasks.create", prompt="build", agent="shell")
    assert made.created_by == "ci"
    assert real.call("tasks.cancel", taskId=made.task_id).task_id == made.task_id
    real.be(other)
    assert real.call("tasks.cancel", taskId=made.task_id) == ("no_such_task" if real.private else "forbidden")


def test_a_task_older_than_users_has_no_owner(real):
    real.sql("update ado.tasks set created_by = null")
    real.be(VICTIMS_OWNER)
    assert real.call("tasks.cancel", taskId="task-1") == ("no_such_task" if real.private else "forbidden")
