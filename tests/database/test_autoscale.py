"""Ranges of workers: what is stored, what spawners of all backends keep together, and what people are told."""

import threading
from contextlib import closing

import psycopg
import pytest
from support.procedures import Real
from support.records import claim, create, register

from app.replica.scraper import _read_autoscale
from app.spawner.backends.base import EndedWorker
from app.spawner.decide import SpawnerLimits, WorkerSpec
from app.spawner.process_spawner import ProcessSpawner
from db import autoscale, jobs
from db.autoscale import NewRange, SurplusNote
from db.model import ResourceAmounts
from db.pods import PodDatabase, PodRequest
from db.spawning import SpawnerDatabase
from db.sync_database import SyncPool

SIZE = ResourceAmounts(1, 2**30)
SHELL = frozenset({"shell"})


@pytest.fixture
def real(dsn):
    made = Real(dsn)
    yield made
    made.close()


@pytest.fixture
def pool(dsn):
    opened = SyncPool(dsn, size=8)
    opened.open()
    with closing(opened):
        yield opened


class Started:
    """A backend whose workers are only requested."""

    host = "h"
    spec = WorkerSpec(SHELL, SIZE)

    def __init__(self, name):
        self.name, self.started = name, []

    def start(self, worker_id, token):
        self.started.append(worker_id)

    def ended(self) -> list[EndedWorker]:
        return []

    def stop(self, seconds):
        pass


def spawner(pool, name="local", most=100):
    backend = Started(name)
    return ProcessSpawner(SpawnerDatabase(pool), backend, SpawnerLimits(most, 60, 60), None, interval=1), backend


def limits(answer):
    return answer.min, answer.max, answer.target_queue, answer.cooldown_seconds


async def counted(db, capability="shell"):
    (found,) = [one for one in await autoscale.ranges(db) if one.capability == capability]
    return found


def test_a_range_is_stored_changed_in_parts_listed_and_removed(real):
    assert limits(real.call("workers.autoscale", capability="shell", max=3)) == (0, 3, 1, 60)
    assert limits(real.call("workers.autoscale", capability="shell", min=2, cooldownSeconds=5)) == (2, 3, 1, 5)
    assert limits(real.call("workers.autoscale", capability="shell", targetQueue=0)) == (2, 3, 0, 5)
    real.call("workers.autoscale", max=9)
    assert [(one.capability, one.max) for one in real.call("workers.status").autoscale if one.capability] == [
        ("shell", 3)
    ]
    assert len(real.call("workers.status").autoscale) == 2
    assert real.call("workers.autoscaleRemove", capability="shell").max == 3
    assert real.call("workers.autoscaleRemove", capability="shell") == "no_such_range"
    assert [(one.capability, one.maximum) for one in real.run(autoscale.ranges(real.db))] == [("", 9)]


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"min": 4}, "invalid_input"),
        ({"max": 0}, "invalid_input"),
        ({"capability": "codex", "min": 1}, "invalid_input"),
        ({"capability": "a\0b", "max": 1}, "invalid_input"),
        ({"max": 10_000, "targetQueue": 11}, "limit_exceeded"),
    ],
)
def test_limits_that_exclude_each_other_change_nothing(real, asked, reason):
    real.call("workers.autoscale", capability="shell", min=1, max=3)
    assert real.call("workers.autoscale", **{"capability": "shell", **asked}) == reason
    assert [(one.capability, one.min, one.max) for one in real.call("workers.status").autoscale] == [("shell", 1, 3)]


def test_the_number_of_ranges_is_limited(real):
    real.sql("insert into ado.autoscale select 'c' || n, 0, 1, 1, 1 from generate_series(1, 100) n returning 1")
    assert real.call("workers.autoscale", capability="shell", max=3) == "limit_exceeded"
    assert limits(real.call("workers.autoscale", capability="c7", max=3)) == (0, 3, 1, 1)


async def test_a_process_counts_for_what_it_offers_and_a_pod_for_what_it_is_made_for(db, pool):
    for capability in ("", "shell", "codex"):
        await autoscale.store(db, NewRange(capability, maximum=9))
    task_id = await create(db)
    with SpawnerDatabase(pool).deciding("local") as decider:
        decider.request("process", ["codex", "shell"], SIZE, 1, "h")
        decider.request("busy", ["shell"], SIZE, 1, "h")
    with PodDatabase(pool, "ns").deciding() as decider:
        decider.request([PodRequest((task_id, 0), SIZE)], frozenset({"shell", "codex"}), frozenset())
        decider.request([PodRequest(None, SIZE)], frozenset({"shell", "codex"}), frozenset({"codex"}))
    await register(db, "busy", slots=1)
    await create(db)
    assert await claim(db, "busy")
    found = {one.capability: (one.workers, one.ready, one.busy) for one in await autoscale.ranges(db)}
    assert found == {"": (4, 3, 1), "shell": (3, 2, 1), "codex": (2, 2, 0)}


async def test_a_worker_that_nobody_started_is_not_counted(db):
    await autoscale.store(db, NewRange("shell", maximum=9))
    await register(db, "own")
    assert (await counted(db)).workers == 0


async def test_spawners_of_all_backends_keep_a_maximum_together(db, pool):
    await create(db, workers=40)
    await autoscale.store(db, NewRange("", maximum=7, target_queue=0))
    backends = [spawner(pool, name) for name in ("one", "two", "three")]
    with PodDatabase(pool, "ns").deciding() as decider:
        decider.request([PodRequest((1, 0), SIZE)], SHELL, frozenset())

    def steps(one):
        for _ in range(20):
            one.step()

    threads = [threading.Thread(target=steps, args=[one]) for one, _ in backends]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(len(backend.started) for _, backend in backends) == 6
    assert (await counted(db, "")).workers == 7


async def test_a_spawner_decides_nothing_while_one_of_another_backend_does(db, pool):
    with SpawnerDatabase(pool).deciding("one") as first, SpawnerDatabase(pool).deciding("two") as second:
        assert first is not None
        assert second is not None  # there are no ranges
    await autoscale.store(db, NewRange("shell", maximum=9))
    with SpawnerDatabase(pool).deciding("one") as first:
        assert first is not None
        with SpawnerDatabase(pool).deciding("two") as second, PodDatabase(pool, "ns").deciding() as third:
            assert (second, third) == (None, None)
    with SpawnerDatabase(pool).deciding("two") as second:
        assert second is not None


async def test_a_queue_is_counted_as_far_as_the_target_needs(db, pool):
    await create(db, workers=600)
    await create(db, workers=600)
    await autoscale.store(db, NewRange("shell", maximum=30, target_queue=100))
    one, backend = spawner(pool)
    one.step()
    assert len(backend.started) == 12  # 1188 wait, 99 for each


async def test_the_minimum_is_started_and_an_idle_surplus_retired_after_the_cooldown(db, dsn, pool):
    await autoscale.store(db, NewRange("shell", minimum=2, maximum=5, cooldown_seconds=60))
    one, backend = spawner(pool)
    one.step()
    assert len(backend.started) == 2
    for worker_id in backend.started:
        await register(db, worker_id, slots=1)
    await autoscale.store(db, NewRange("shell", minimum=0))
    one.step()
    surplus = await counted(db)
    assert (surplus.surplus_peak, surplus.surplus_seconds < 60, surplus.leaving) == (0, True, 0)
    with psycopg.connect(dsn) as connection:
        connection.execute("update ado.autoscale set surplus_since = surplus_since - interval '1 min'")
    await create(db)
    assert await claim(db, backend.started[0])
    one.step()
    found = await counted(db)
    assert (found.leaving, found.busy, found.surplus_peak) == (1, 1, 1)  # the idle one
    one.step()
    found = await counted(db)
    assert (found.workers, found.leaving, found.surplus_seconds) == (2, 1, None)


async def test_a_busy_worker_drains_only_when_the_maximum_was_lowered(db, pool):
    await create(db, workers=3)
    await autoscale.store(db, NewRange("shell", maximum=2, target_queue=0, cooldown_seconds=0))
    one, backend = spawner(pool)
    one.step()
    for worker_id in backend.started:
        await register(db, worker_id, slots=1)
        assert await claim(db, worker_id)
    for _ in range(3):
        one.step()
    assert ((await counted(db)).leaving, len(backend.started)) == (0, 2)
    await autoscale.store(db, NewRange("shell", maximum=1))
    one.step()
    found = await counted(db)
    assert (found.workers, found.leaving, found.busy) == (2, 1, 1)
    assert (await jobs.counts(db))[1] == 2  # its job runs on
    one.step()
    assert ((await counted(db)).leaving, len(backend.started)) == (1, 2)


async def test_what_a_range_remembers_goes_with_it(db, pool):
    await autoscale.store(db, NewRange("shell", maximum=2))
    with SpawnerDatabase(pool).deciding("one") as decider:
        decider.note(SurplusNote("shell", 3))
        decider.note(SurplusNote("gone", 3))
    assert (await counted(db)).surplus_peak == 3
    with SpawnerDatabase(pool).deciding("one") as decider:
        decider.note(SurplusNote("shell", None))
    assert (await counted(db)).surplus_seconds is None


async def test_a_warm_pod_that_has_claimed_a_job_is_not_removed_as_unneeded(db, pool):
    pods = PodDatabase(pool, "ns")
    with pods.deciding() as decider:
        taken, free = decider.request([PodRequest(None, SIZE)] * 2, SHELL, frozenset())
    await create(db)
    await register(db, taken)
    assert await claim(db, taken)
    for name in (taken, free):
        pods.close(name, unclaimed=True)
    assert {pod.name: pod.state for pod in pods.open_pods()} == {taken: "wanted", free: "ending"}


async def test_jobs_of_a_closed_capability_do_not_hide_the_others(db, pool):
    await create(db, agent="codex", workers=5, priority=9)
    task_id = await create(db)
    with PodDatabase(pool, "ns").deciding() as decider:
        offered = frozenset({"codex", "shell"})
        assert {job.key[0] for job in decider.waiting(offered, 3, ())} == {1}
        assert [job.key for job in decider.waiting(offered, 3, {"codex"})] == [(task_id, 0)]


def test_explain_names_the_maximum_that_a_job_waits_for(real):
    task = real.call("tasks.create", prompt="true", agent="shell").task_id
    real.call("workers.autoscale", capability="codex", max=0)
    assert real.call("tasks.get", taskId=task, explain=True).wait.reason == "no_live_worker"
    real.call("workers.autoscale", capability="shell", max=0)
    wait = real.call("tasks.get", taskId=task, explain=True).wait
    assert wait.reason == "autoscale"
    assert "0 workers that offer shell are there, and autoscaling allows 0" in wait.why
    assert "ado workers autoscale shell --max 1" in wait.why


async def test_metrics_have_the_limits_and_the_workers_of_each_range(db):
    from app.metrics.instruments import AUTOSCALE

    await autoscale.store(db, NewRange("", minimum=1, maximum=4))
    await _read_autoscale(db)
    (family,) = AUTOSCALE.collect()
    figures = {(sample.labels["capability"], sample.labels["bound"]): sample.value for sample in family.samples}
    assert figures == {("any", "current"): 0, ("any", "minimum"): 1, ("any", "maximum"): 4}
    await autoscale.remove(db, "")
    await _read_autoscale(db)
    assert AUTOSCALE.collect()[0].samples == []
