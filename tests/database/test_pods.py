"""Decisions about pods in the database: what a pod's worker may claim, and what is reported and done once."""

import asyncio
from contextlib import closing
from dataclasses import replace

import psycopg
import pytest
from support.records import claim, closed, create, finish, register

from app.spawner.pod_plan import PodLimits, plan
from db import events, tasks
from db.connect import run
from db.model import ResourceAmounts
from db.pods import PodDatabase, PodProblem, PodRequest
from db.sync_database import SyncPool

OFFERED = frozenset({"shell"})
PROBLEM = PodProblem("image_pull", "no such image", "look again")


@pytest.fixture
def pods(dsn):
    pool = SyncPool(dsn, size=4)
    pool.open()
    with closing(pool):
        yield PodDatabase(pool, "ns")


def request(pods, *keys):
    with pods.deciding() as decider:
        return decider.request([PodRequest(key, ResourceAmounts(1, 2**30)) for key in keys], OFFERED, frozenset())


async def kinds(db, task_id):
    return [event.type for event in (await events.page(db, task_id, 0, row_limit=1000, byte_limit=1 << 30)).events]


async def test_the_worker_of_a_pod_claims_only_its_own_job_and_once(db, pods):
    first, second = await create(db, priority=5), await create(db)
    (name,) = request(pods, (second, 0))
    await register(db, name)
    assert [(job.task_id, job.job) for job in await claim(db, name)] == [(second, 0)]
    await closed(db, finish(second, "released", worker_id=name))
    assert await claim(db, name) == []
    assert (await tasks.get(db, first)).status == "queued"


async def test_a_warm_pod_claims_a_single_job_of_any_task(db, pods):
    task_id = await create(db, workers=3)
    (name,) = request(pods, None)
    await register(db, name)
    claims = await asyncio.gather(*(claim(db, name) for _ in range(4)))
    assert [(job.task_id, job.job) for given in claims for job in given or []] == [(task_id, 0)]
    await closed(db, finish(task_id, worker_id=name))
    assert await claim(db, name) == []
    (row,) = pods.open_pods()
    assert (row.key, row.claimed) == ((task_id, 0), True)


async def test_a_pod_that_is_to_be_removed_claims_nothing(db, pods):
    task_id = await create(db)
    (name,) = request(pods, (task_id, 0))
    await register(db, name)
    pods.close(name)
    assert await claim(db, name) is None


async def test_concurrent_spawners_make_one_pod_for_a_job(db, pods):
    task_id = await create(db)
    assert len(request(pods, (task_id, 0))) == 1
    assert request(pods, (task_id, 0)) == []
    with pods.deciding() as decider:
        assert decider.waiting(OFFERED, 10, ()) == ()


@pytest.mark.parametrize("statement", ["open_pods", "spawner_workers", "list_scales", "podless_jobs"])
async def test_a_job_that_a_warm_pod_claims_while_a_spawner_reads_gets_no_pod(db, pods, monkeypatch, statement):
    await create(db)
    (name,) = request(pods, None)
    pods.placed(name, "u1")
    await register(db, name)
    loop = asyncio.get_running_loop()

    def run_and_claim(connection, ran, **values):
        rows = run(connection, ran, **values)
        if ran == statement:
            assert asyncio.run_coroutine_threadsafe(claim(db, name), loop).result(20)
        return rows

    for module in ("db.pods", "db.spawning"):
        monkeypatch.setattr(f"{module}.run", run_and_claim)
    with pods.deciding() as decider:
        snapshot = await asyncio.to_thread(decider.snapshot, OFFERED)
        snapshot = replace(snapshot, waiting=await asyncio.to_thread(decider.waiting, OFFERED, 10, ()))
    assert plan(snapshot, OFFERED, PodLimits(10, ResourceAmounts(1, 2**30), 60)).jobs == ()


async def test_one_spawner_decides_at_a_time(dsn, pods):
    other = SyncPool(dsn)
    other.open()
    with closing(other), pods.deciding() as first, PodDatabase(other, "ns").deciding() as second:
        assert first is not None
        assert second is None


async def test_an_action_belongs_to_one_spawner_for_a_limited_time(db, pods):
    task_id = await create(db, workers=2)
    request(pods, (task_id, 0), (task_id, 1))
    assert [task.key for task in pods.take(1, 30)] == [(task_id, 0)]
    assert [task.key for task in pods.take(9, 0)] == [(task_id, 1)]
    assert [task.key for task in pods.take(9, 30)] == [(task_id, 1)]  # its time is up
    assert pods.take(9, 30) == []


async def test_a_spawner_keeps_the_turn_of_a_pod_that_it_works_on(db, pods):
    """Its action may change the row's state, and the next turn must then come at once, not after the retry time."""
    (name,) = request(pods, (await create(db), 0))
    (task,) = pods.take(9, 0)
    pods.close(name)
    assert pods.take(9, 600, [task.name]) == []
    assert [(task.name, task.state) for task in pods.take(9, 600)] == [(name, "ending")]


async def test_a_pod_given_up_meanwhile_is_not_placed(db, pods):
    task_id = await create(db)
    (name,) = request(pods, (task_id, 0))
    assert pods.placed(name, "u1")
    pods.close(name)
    assert not pods.placed(name, "u1")
    pods.ended(name)
    assert pods.open_pods() == []


async def test_a_problem_of_a_pod_is_reported_once_and_not_after_its_end(db, pods):
    task_id = await create(db)
    (name,) = request(pods, (task_id, 0))
    assert pods.log_problem(name, PROBLEM)
    assert not pods.log_problem(name, PROBLEM)
    await tasks.cancel(db, task_id, None)
    pods.log_problem(name, PodProblem("quota", "none left", "wait"))
    assert await kinds(db, task_id) == ["created", "pod", "cancel_requested", "finished", "cancelled"]


async def test_a_death_seen_by_two_spawners_is_one_loss(db, pods):
    task_id = await create(db)
    (name,) = request(pods, (task_id, 0))
    pods.placed(name, "u1")
    await register(db, name)
    await claim(db, name)
    deaths = (
        asyncio.to_thread(pods.lost, name, PodProblem("evicted", "m", "h"), count_unclaimed=False) for _ in range(2)
    )
    await asyncio.gather(*deaths)
    assert await kinds(db, task_id) == ["created", "started", "pod", "requeued"]
    assert (await db.one("get_job", task_id=task_id, job=0))["losses"] == 1


async def test_a_job_fails_after_several_pods_that_never_claimed_it(db, pods):
    task_id = await create(db)
    for _ in range(3):
        (name,) = request(pods, (task_id, 0))
        pods.lost(name, PodProblem("pod_failed", "exit code 3", "h"), count_unclaimed=True)
    task = await tasks.get(db, task_id)
    assert (task.status, task.reason, task.message) == ("failed", "pod_failed", "exit code 3")


async def test_a_permanent_failure_ends_the_job_and_the_siblings_of_a_fail_fast_task(db, pods):
    task_id = await create(db, workers=2, on_failure="fail_fast")
    (name,) = request(pods, (task_id, 0))
    pods.failed(name, PodProblem("invalid_image", "m", "h"), None)
    task = await tasks.get(db, task_id)
    assert [(job.status, job.reason) for job in task.jobs] == [
        ("failed", "invalid_image"),
        ("cancelled", "sibling_failed"),
    ]
    assert task.status == "failed"


async def test_a_task_with_wishes_for_its_pods_is_for_their_workers_alone(db, pods):
    task_id = await create(db, pod={"image": "mine:1"})
    await register(db, "standing")
    assert await claim(db, "standing") == []
    (name,) = request(pods, (task_id, 0))
    (task,) = pods.take(1, 30)
    assert task.overrides == {"image": "mine:1"}
    await register(db, name, capabilities=task.offered)
    assert len(await claim(db, name)) == 1


def change(dsn, statement):
    with psycopg.connect(dsn) as connection:
        connection.execute(statement.encode())


async def test_the_age_of_a_pod_restarts_when_a_problem_ends(db, pods, dsn):
    (name,) = request(pods, (await create(db), 0))
    change(dsn, "update ado.pods set requested_at = now() - interval '1 hour'")
    assert pods.open_pods()[0].age_seconds == 0
    pods.placed(name, "u")
    assert pods.open_pods()[0].age_seconds < 60
    pods.record_problem(name, PodProblem("no_room", "full", "wait"))
    change(dsn, "update ado.pods set starting_since = now() - interval '1 hour'")
    assert pods.open_pods()[0].age_seconds > 3000
    pods.clear_problem(name)
    assert pods.open_pods()[0].age_seconds < 60


async def test_what_keeps_a_pod_waiting_is_shown_with_the_task_and_in_no_log(db, pods):
    task_id = await create(db)
    (name,) = request(pods, (task_id, 0))
    pods.record_problem(name, PodProblem("quota", "exceeded", "wait"))
    since = pods.open_pods()[0].reason_seconds
    pods.record_problem(name, PodProblem("quota", "exceeded by more", "wait"))
    (row,) = pods.open_pods()
    assert (row.reason, row.message) == ("quota", "exceeded by more")
    assert row.reason_seconds >= since
    pod = (await tasks.get(db, task_id)).jobs[0].pod
    assert (pod.name, pod.state, pod.reason, pod.message) == (name, "wanted", "quota", "exceeded by more")
    assert await kinds(db, task_id) == ["created"]
    await register(db, name)
    await claim(db, name)
    assert (await tasks.get(db, task_id)).jobs[0].pod is None


async def test_pods_of_one_task_report_a_shared_problem_once(db, pods):
    once = replace(PROBLEM, once=True)
    for _ in range(10):
        task_id = await create(db, workers=4)
        names = request(pods, *((task_id, job) for job in range(4)))
        await asyncio.gather(*(asyncio.to_thread(pods.log_problem, name, once) for name in names))
        assert await kinds(db, task_id) == ["created", "pod"]
    assert {row.logged_reason for row in pods.open_pods()} == {"image_pull"}


async def test_the_end_of_a_pod_starts_the_first_pod_that_waits_for_the_quota(db, pods, dsn):
    task_id = await create(db, workers=4)
    going, first, second, refused = request(pods, *((task_id, job) for job in range(4)))
    pods.placed(going, "u")
    for name, reason in ((first, "quota"), (second, "quota"), (refused, "cluster_refused")):
        pods.record_problem(name, PodProblem(reason, "no", "wait"))
        pods.postpone(name, 3600)
    assert pods.take(9, 30) == []
    pods.close(going)
    pods.ended(going)
    assert [task.name for task in pods.take(9, 30)] == [first]


async def test_new_pods_avoid_the_node_of_a_lost_one_for_two_minutes(db, pods, dsn):
    task_id = await create(db, workers=2)
    lost, _ = request(pods, (task_id, 0), (task_id, 1))
    pods.placed(lost, "u")
    pods.lost(lost, PodProblem("node_lost", "silent", "wait", "node-7"), count_unclaimed=False)
    avoided = {task.name: task.avoid for task in pods.take(9, 0)}
    assert set(avoided.values()) == {("node-7",)}
    change(dsn, "update ado.pods set reason_since = now() - interval '3 minutes' where reason is not null")
    assert {task.avoid for task in pods.take(9, 0)} == {()}
