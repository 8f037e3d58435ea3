"""Whose tasks a caller sees and changes, and which jobs of workers are hidden from it."""

from types import SimpleNamespace

import pytest

from app.access.context import Context
from app.procedures.checks import ownership
from app.rpc.errors import ProcedureError
from app.shapes.records import Worker
from db import users
from db.model import ResourceAmounts
from db.tokens import TokenRow
from db.users import QueueLimit
from db.workers import WorkerRow

OWNERS = {1: "user-7", 2: "user-8", 3: None}
"""The creator of each task."""
NOTHING = ResourceAmounts()
OTHERS = ("viewer", "operator", "admin", "worker", "attempt", "job")


@pytest.fixture(autouse=True)
def asked(monkeypatch):
    """Answer the queries about owners; note which there were."""
    queries = []

    async def owner(_db, task_id):
        queries.append(task_id)
        return OWNERS.get(task_id)

    async def exists(_db, task_id):
        return task_id in OWNERS

    async def owned(_db, task_ids, account):
        return {task_id for task_id in task_ids if OWNERS[task_id] == account}

    for query in (owner, exists, owned):
        monkeypatch.setattr(users, query.__name__, query)
    return queries


def context(role, *, private=False):
    services = SimpleNamespace(settings=SimpleNamespace(private_tasks=private), db=None)
    return Context(services, TokenRow("t", role, None, None, None, None, None, None, True, 7), "s")


async def refusal(check, caller, task_id):
    """Return the reason for which a check refuses; None: it accepts."""
    try:
        await check(caller, task_id)
    except ProcedureError as error:
        return error.reason
    return None


@pytest.mark.parametrize(
    ("private", "seen", "changed"),
    [
        (False, [None, None, None, None], [None, "forbidden", "forbidden", "no_such_task"]),
        (True, [None, *["no_such_task"] * 3], [None, *["no_such_task"] * 3]),
    ],
)
async def test_a_developer_changes_own_tasks_and_sees_only_those_where_tasks_are_private(private, seen, changed):
    caller = context("developer", private=private)
    assert ownership.only_creator(caller) == ("user-7" if private else None)
    assert [await refusal(ownership.check_may_see, caller, task_id) for task_id in (1, 2, 3, 4)] == seen
    assert [await refusal(ownership.check_may_change, caller, task_id) for task_id in (1, 2, 3, 4)] == changed


@pytest.mark.parametrize("role", OTHERS)
async def test_other_roles_pass_without_a_query(asked, role):
    caller = context(role, private=True)
    assert ownership.only_creator(caller) is None
    for check in (ownership.check_may_see, ownership.check_may_change):
        assert [await refusal(check, caller, task_id) for task_id in (1, 2, 3, 4)] == [None] * 4
    assert asked == []


@pytest.mark.parametrize(("private", "left"), [(False, [[1, 2], [3]]), (True, [[1], []])])
async def test_the_jobs_of_hidden_tasks_are_removed_from_workers(private, left):
    held = [[(task_id, 0, 1) for task_id in task_ids] for task_ids in ([1, 2], [3])]
    rows = [WorkerRow("w", "busy", [], NOTHING, NOTHING, 2, {}, *[None] * 7, jobs) for jobs in held]
    workers = [Worker.of(row) for row in rows]
    shown = await ownership.hide_jobs(context("developer", private=private), workers)
    assert [[job.job_id for job in worker.jobs] for worker in shown] == [
        [f"task-{task_id}/0" for task_id in task_ids] for task_ids in left
    ]


def test_a_queue_takes_jobs_up_to_its_limit():
    limit = QueueLimit("anna", 10, 8)
    ownership.check_queue(limit, 2)
    ownership.check_queue(None, 99)
    with pytest.raises(ProcedureError) as refused:
        ownership.check_queue(limit, 3)
    assert (refused.value.reason, refused.value.data["limit"]) == ("limit_exceeded", 10)
