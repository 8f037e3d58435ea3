"""Notifications, as the statements and triggers decide them."""

import asyncio

import orjson
import pytest
from support.records import claim, closed, create, finish, register

from db import notifications, questions, tasks, users
from db.actor import Actor
from db.notifications import NewTarget, SigningKey
from db.questions import NewQuestion
from db.users import UserLimits

ANNA = Actor("notifications.add", "user-1", name="anna")
ALL = ("question", "succeeded", "failed", "cancelled")


async def target(db, *, events=ALL, labels=None, mine=False, by=None, most=10, format="json"):
    new = NewTarget("https://a.test/x", format, events, labels or {}, mine, SigningKey("whsec_x", None), by)
    stored = await notifications.add_target(db, new, most=most, actor=ANNA)
    return stored and stored.target_id


async def user(db, name, role):
    stored = await users.add(db, name, role, email=None, external_id=None, limits=UserLimits(), actor=None)
    return f"user-{stored.user_id}"


async def outbox(db, target_id):
    rows = await db._pool.fetch(
        "select event, body from ado.notifications where target_id = $1 order by notification_id", target_id
    )
    return [(row["event"], orjson.loads(row["body"])) for row in rows]


async def events_of(db, target_id):
    return [event for event, _ in await outbox(db, target_id)]


async def run(db, outcome="succeeded", *, by=None, **values):
    actor = Actor("tasks.create", by, name=by) if by else None
    task_id = await create(db, actor=actor, **values)
    await register(db)
    await claim(db)
    await closed(db, finish(task_id, outcome=outcome))
    await tasks.settle(db, task_id)
    return task_id


async def test_each_end_of_a_task_is_put_into_the_outbox_once(db):
    target_id = await target(db)
    task_id = await run(db)
    ((event, body),) = await outbox(db, target_id)
    assert (event, body["type"]) == ("succeeded", "task.succeeded")
    assert body["data"]["taskId"] == f"task-{task_id}"
    assert "question" not in body["data"]
    await tasks.settle_all(db, [task_id])
    assert await events_of(db, target_id) == ["succeeded"]


async def test_a_target_is_told_only_of_its_events_and_labels(db):
    failures = await target(db, events=["failed"])
    labelled = await target(db, labels={"team": "a"})
    await run(db, labels={"team": "b"})
    await run(db, outcome="failed", labels={"team": "a", "more": "x"})
    assert await events_of(db, failures) == ["failed"]
    assert await events_of(db, labelled) == ["failed"]


async def test_a_question_is_told_with_what_to_choose_from(db):
    target_id = await target(db, events=["question"])
    task_id = await create(db)
    await register(db)
    await claim(db)
    options = [{"id": "a", "label": "A"}]
    stored = await questions.ask(db, NewQuestion(task_id, 0, 1, "k", "choice", "which?", options, None, None), 10)
    ((_, body),) = await outbox(db, target_id)
    assert body["type"] == "question.asked"
    question = {"questionId": f"question-{stored.question_id}", "job": 0, "kind": "choice", "text": "which?"}
    assert body["data"]["question"] == question | {"options": options}


async def test_a_developer_is_told_only_of_own_tasks_and_a_disabled_user_of_none(db):
    dev, lead = await user(db, "dev", "developer"), await user(db, "lead", "operator")
    of_dev, of_lead, own = await target(db, by=dev), await target(db, by=lead), await target(db, by=lead, mine=True)
    await run(db, by=dev)
    await run(db, by=lead)
    assert [len(await outbox(db, item)) for item in (of_dev, of_lead, own)] == [1, 2, 1]
    await db._pool.fetch("update ado.users set disabled_at = now()")
    await run(db, by=dev)
    assert [len(await outbox(db, item)) for item in (of_dev, of_lead, own)] == [1, 2, 1]


async def test_a_claimed_notification_is_due_again_only_after_its_lease(db):
    target_id = await target(db)
    await run(db)
    (first,) = await notifications.claim(db, target_limit=5)
    assert (first.target_id, first.key) == (target_id, SigningKey("whsec_x", None))
    assert await notifications.claim(db, target_limit=5) == []
    await db._pool.fetch("update ado.notifications set next_try_at = now()")
    assert await notifications.claim(db, busy=[target_id], target_limit=5) == []
    (second,) = await notifications.claim(db, target_limit=5)
    assert second.notification_id == first.notification_id


async def test_concurrent_claims_share_nothing(db):
    await target(db)
    task_ids = [await create(db) for _ in range(20)]
    for task_id in task_ids:
        await tasks.cancel(db, task_id, None, None)
    claims = await asyncio.gather(*(notifications.claim(db, target_limit=5) for _ in range(4)))
    ids = [item.notification_id for batch in claims for item in batch]
    assert len(ids) == len(set(ids))
    assert 5 <= len(ids) <= 20


@pytest.mark.parametrize(("tries", "least", "most"), [(0, 27, 33), (1, 108, 132), (400, 77_760, 95_040)])
async def test_the_delay_before_the_next_try_grows_up_to_a_day(db, tries, least, most):
    await target(db)
    await run(db)
    await db._pool.fetch("update ado.notifications set tries = $1", tries)
    await notifications.claim(db, target_limit=5)
    (row,) = await db._pool.fetch("select extract(epoch from next_try_at - now()) as seconds from ado.notifications")
    assert least - 5 < row["seconds"] <= most


async def test_a_failed_try_stays_waiting_until_its_time_is_over(db):
    target_id = await target(db)
    await run(db)
    (item,) = await notifications.claim(db, target_limit=5)
    number = item.notification_id
    assert await notifications.record(db, {number: "HTTP 500"}) == {number: "waiting"}
    (status,) = await notifications.targets(db, None, 10)
    assert (status.target.target_id, status.waiting, status.last_error) == (target_id, 1, "HTTP 500")
    assert await notifications.record(db, {number: "HTTP 500"}, give_up_seconds=0) == {number: "failed"}
    assert await notifications.record(db, {number: None}) == {}
    (status,) = await notifications.targets(db, None, 10)
    assert (status.waiting, status.delivered, status.failed) == (0, 0, 1)


async def test_a_late_failure_does_not_undo_a_delivery(db):
    await target(db)
    await run(db)
    (item,) = await notifications.claim(db, target_limit=5)
    assert await notifications.record(db, {item.notification_id: None}) == {item.notification_id: "delivered"}
    assert await notifications.record(db, {item.notification_id: "timed out"}) == {}


async def test_only_the_creator_removes_a_target_and_what_waits_for_it_goes(db):
    target_id = await target(db, by="user-1")
    await run(db, by="user-1")
    assert not await notifications.remove_target(db, target_id, "user-2", ANNA)
    assert len(await outbox(db, target_id)) == 1
    assert await notifications.remove_target(db, target_id, "user-1", ANNA)
    assert await outbox(db, target_id) == []
    rows = await db._pool.fetch("select target from ado.audit where procedure = 'notifications.add' order by at")
    assert [row["target"] for row in rows] == [f"notify-{target_id}"] * 2


async def test_a_creator_has_a_bounded_number_of_targets(db):
    assert await target(db, by="user-1", most=1)
    assert await target(db, by="user-1", most=1) is None
    assert await target(db, by="user-2", most=1)


async def test_ended_notifications_are_deleted_after_a_week(db):
    await target(db)
    for _ in range(2):
        await run(db)
    for item in await notifications.claim(db, target_limit=5):
        await notifications.record(db, {item.notification_id: None})
    await db._pool.fetch("update ado.notifications set ended_at = now() - interval '8 days' where notification_id = 1")
    assert await notifications.prune(db) == 1
    assert len(await db._pool.fetch("select from ado.notifications")) == 1
