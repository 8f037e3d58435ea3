"""An agent that fails again and again before it does anything: its jobs wait, one at a time tries it."""

import asyncio
from dataclasses import replace

import asyncpg
import pytest
from support.records import claim, closed, create, finish, register

from db import agents, jobs, workers
from db.model import ResourceAmounts

OFFERS = ("claude-code", "codex", "shell")


async def raw(db, statement, *values):
    """Reach into the tables, as time or an operator would."""
    return await db._pool.fetch(statement, *values)


async def due(db):
    """Let the pause before the next probe be over."""
    await raw(db, "update ado.agent_failures set probe_after = now()")


def end(job, outcome="failed", *, reason=None, worker_id="w1", usage=None):
    return finish(
        job.task_id, outcome, job=job.job, attempt=job.attempt, worker_id=worker_id, reason=reason, usage=usage
    )


async def place(db, name, task_id, job):
    """Let a job have a pod."""
    await raw(
        db,
        "insert into ado.pods (name, namespace, state, decision, task_id, job) values ($1, 'n', 'placed', $2, $3, $4)",
        name, job + 1, task_id, job,
    )  # fmt: skip


async def fail(db, times=5, *, agent="claude-code", reason="auth", usage=None):
    """End so many attempts of jobs of their own."""
    for _ in range(times):
        await create(db, agent=agent)
        (job,) = await claim(db, limit=1)
        await closed(db, end(job, reason=reason, usage=usage))


async def claimed(db, worker_id="w1", limit=100):
    return [(job.task_id, job.job) for job in await claim(db, worker_id, limit=limit)]


@pytest.fixture(autouse=True)
async def world(db):
    """Two workers that offer everything."""
    for worker_id in ("w1", "w2"):
        await register(db, worker_id, capabilities=OFFERS)


@pytest.mark.parametrize("reason", ["auth", "agent_error"])
async def test_jobs_of_an_agent_wait_after_so_many_failures_in_a_row(db, reason):
    await fail(db, 4, reason=reason)
    task_id = await create(db, agent="claude-code")
    (job,) = await claim(db)
    await closed(db, end(job, reason=reason))
    await create(db, agent="claude-code", workers=50)
    assert await claimed(db) == []
    (ill,) = await agents.unhealthy(db)
    assert (ill.agent, ill.failures, ill.reason, ill.job_id) == ("claude-code", 5, reason, f"task-{task_id}/0")


async def test_jobs_of_other_agents_and_of_shell_go_on(db):
    await fail(db)
    await create(db, agent="claude-code")
    others = [await create(db, agent="codex"), await create(db, agent="shell", requires=("claude-code",))]
    assert [task for task, _ in await claimed(db)] == others


@pytest.mark.parametrize(
    ("outcome", "reason", "usage"),
    [
        ("failed", "agent_error", {"inputTokens": 5}),
        ("failed", "exit_nonzero", None),
        ("failed", "rate_limited", None),
        ("released", "shutdown", None),
        ("released", "agent_error", None),
        ("cancelled", None, None),
        ("cancelled", "auth", None),
    ],
)
async def test_other_ends_neither_count_nor_break_the_row(db, outcome, reason, usage):
    await fail(db, 4)
    await create(db, agent="claude-code")
    (job,) = await claim(db)
    await closed(db, end(job, outcome, reason=reason, usage=usage))
    await raw(db, "update ado.jobs set status = 'failed', finished_at = now() where status = 'queued'")
    assert await agents.unhealthy(db) == []
    await fail(db, 1)
    assert [ill.failures for ill in await agents.unhealthy(db)] == [5]


async def test_a_success_is_noted_and_wakes_waiting_claims_only_where_its_agent_had_failed(db, monkeypatch):
    async def finished(agent, outcome):
        await create(db, agent=agent)
        (job,) = await claim(db)
        hints.clear()
        await closed(db, end(job, outcome, reason="auth" if outcome == "failed" else None))
        return "q:1" in hints, await raw(db, "select xmin::text, agent, failures from ado.agent_failures")

    hints = []
    monkeypatch.setattr(db._notifier, "notify", hints.extend)
    woken, rows = await finished("claude-code", "failed")
    assert (woken, [row["failures"] for row in rows]) == (False, [1])
    assert await finished("codex", "succeeded") == (False, rows)
    assert await finished("shell", "failed") == (False, rows)
    woken, rows = await finished("claude-code", "succeeded")
    assert (woken, [row["failures"] for row in rows]) == (True, [0])
    assert await finished("claude-code", "succeeded") == (False, rows)


async def test_a_success_begins_the_row_anew(db):
    await fail(db, 4)
    await create(db, agent="claude-code")
    (job,) = await claim(db)
    await closed(db, end(job, "succeeded"))
    await fail(db, 4)
    assert await agents.unhealthy(db) == []


@pytest.mark.parametrize(("health", "failures"), [("well", []), ("unknown", [5]), ("ill", [6]), (None, [6])])
async def test_what_a_worker_says_of_the_agent_outranks_the_reason(db, health, failures):
    await create(db, agent="claude-code", workers=1)
    (running,) = await claim(db)
    await fail(db)
    await closed(db, replace(end(running, reason="auth"), health=health))
    assert [ill.failures for ill in await agents.unhealthy(db)] == failures


async def test_ends_that_are_stored_together_are_all_counted(db):
    await create(db, agent="claude-code", workers=6)
    await create(db, agent="codex", workers=2)
    running = await claim(db)
    await jobs.finish_all(db, [end(job, reason="auth") for job in running])
    rows = await raw(db, "select agent, failures from ado.agent_failures order by agent")
    assert [tuple(row) for row in rows] == [("claude-code", 6), ("codex", 2)]


async def test_one_job_tries_the_agent_after_a_pause_that_grows_to_a_bound(db):
    await fail(db)
    await create(db, agent="claude-code", workers=50)
    pauses = []
    for _ in range(8):
        assert await claimed(db) == []
        await due(db)
        (job,) = await claim(db)
        await due(db)
        assert await claimed(db, "w2") == []  # while it runs nobody else tries
        await closed(db, end(job, reason="auth"))
        ((pause,),) = await raw(db, "select probe_after - now() from ado.agent_failures")
        pauses.append(round(pause.total_seconds(), -1))
    assert pauses == [30, 60, 120, 240, 480, 600, 600, 600]


async def test_a_probe_of_one_agent_is_not_noted_for_another(db):
    await fail(db)
    await fail(db, agent="codex")
    await create(db, agent="claude-code")
    await due(db)
    await claim(db)
    rows = await raw(db, "select agent, probes from ado.agent_failures order by agent")
    assert [tuple(row) for row in rows] == [("claude-code", 1), ("codex", 0)]


async def test_a_claim_of_another_job_is_no_probe(db):
    await fail(db)
    await due(db)
    await create(db)
    assert len(await claim(db)) == 1
    assert [row["probes"] for row in await raw(db, "select probes from ado.agent_failures")] == [0]


async def test_all_go_on_when_a_probe_succeeds(db):
    await fail(db)
    task_id = await create(db, agent="claude-code", workers=3)
    await due(db)
    (job,) = await claim(db)
    await closed(db, end(job, "succeeded"))
    assert await claimed(db) == [(task_id, 1), (task_id, 2)]
    assert await agents.prune(db) == 1
    assert await raw(db, "select from ado.agent_failures") == []


async def test_two_claims_at_once_do_not_both_probe(db):
    await fail(db)
    await create(db, agent="claude-code", workers=50)
    await due(db)
    for number in range(20):
        await register(db, f"more-{number}", capabilities=OFFERS)
    given = await asyncio.gather(*(claim(db, f"more-{number}") for number in range(20)))
    assert sum(map(len, given)) == 1


async def test_a_claim_that_is_not_yet_committed_keeps_others_from_probing_with_another_job(db, dsn):
    await fail(db)
    await create(db, agent="claude-code", resources=ResourceAmounts(cpu=6))
    small = await create(db, agent="claude-code")
    await register(db, "small", capabilities=OFFERS, resources=ResourceAmounts(2, 2**34))
    await due(db)
    other = await asyncpg.connect(dsn)
    async with other.transaction():
        taken = await other.fetch("select cpu from ado.take_heads($1, 8, 1e12, 0, 5)", list(OFFERS))
        assert [row["cpu"] for row in taken] == [6]
        assert await claimed(db, "small") == []
    await other.close()
    assert await claimed(db, "small") == [(small, 0)]


@pytest.mark.parametrize("how", ["lost", "released", "cancelled", "paused"])
async def test_a_probe_that_ends_without_a_verdict_leaves_its_place_to_the_next(db, how):
    await fail(db)
    await create(db, agent="claude-code", workers=50)
    await due(db)
    (job,) = await claim(db)
    assert [ill.is_probing for ill in await agents.unhealthy(db)] == [True]
    if how == "lost":
        await jobs.end_attempts(db, [(job.task_id, job.job, job.attempt)], reason="lost", loss=True)
    else:
        outcome = "released" if how == "paused" else how
        await closed(db, end(job, outcome, reason=how))
    assert [ill.is_probing for ill in await agents.unhealthy(db)] == [False]
    assert await claimed(db, "w2") == []  # the pause still counts
    await due(db)
    assert len(await claimed(db, "w2")) == 1


async def test_a_failed_probe_with_retries_left_waits_again(db):
    await fail(db)
    task_id = await create(db, agent="claude-code", retries=3)
    await due(db)
    (job,) = await claim(db)
    assert (await closed(db, end(job, reason="auth")))[0].status == "queued"
    assert await claimed(db) == []
    await due(db)
    assert await claimed(db) == [(task_id, 0)]


async def test_the_next_probe_is_of_another_task_than_the_one_that_failed(db):
    await fail(db)
    bad = await create(db, agent="claude-code", workers=3, priority=9)
    good = await create(db, agent="claude-code")
    tried = []
    for _ in range(3):
        await due(db)
        (job,) = await claim(db)
        tried.append(job.task_id)
        await closed(db, end(job, reason="agent_error"))
    assert tried == [bad, good, bad]


async def test_a_probe_that_uses_a_tool_shows_that_the_agent_works(db):
    await fail(db)
    task_id = await create(db, agent="claude-code", workers=2)
    await due(db)
    (job,) = await claim(db)
    write = """
        with grown as (update ado.task_logs set last_seq = last_seq + 1 where task_id = $1 returning last_seq)
        insert into ado.events (task_id, seq, job, attempt, type, at, stored_at, body)
        select $1, last_seq, $2, $3, 'agent', now(), now(), json_build_object('event', $4::text) from grown"""
    await raw(db, write, task_id, job.job, job.attempt, "text")
    assert await agents.close_working(db) == []
    await raw(db, write, task_id, job.job, job.attempt, "tool_start")
    assert await agents.close_working(db) == ["claude-code"]
    assert await claimed(db, "w2") == [(task_id, 1)]


async def test_an_operator_closes_the_breaker_by_hand(db):
    await fail(db)
    await create(db, agent="claude-code", workers=3)
    assert await agents.reset(db, "claude-code") == 5
    assert await agents.reset(db, "claude-code") == 0
    assert len(await claimed(db)) == 3


async def test_with_the_setting_0_no_job_waits(db):
    await fail(db)
    await create(db, agent="claude-code", workers=2)
    tick = {"heartbeat": 5, "suspect": 15, "lease": 30, "losses": 3, "attempts": 20}
    await workers.monitor_tick(db, **tick, agent_breaker=0)
    assert len(await claimed(db)) == 2
    await raw(db, "delete from ado.agent_failures")
    await fail(db, 9)
    assert await raw(db, "select from ado.agent_failures") == []


async def test_waiting_claims_and_spawners_see_one_job_only_once_a_probe_is_due(db):
    await fail(db)
    await create(db, agent="claude-code", workers=50)
    await create(db, agent="claude-code", workers=50, resources=ResourceAmounts(cpu=2))
    assert await jobs.ready_demands(db, OFFERS) == []
    await due(db)
    assert [demand.jobs for demand in await jobs.ready_demands(db, OFFERS)] == [1]
    assert await jobs.ready_demands(db, ("shell",)) == []
    await claim(db)
    await due(db)
    assert await jobs.ready_demands(db, OFFERS) == []


async def test_one_pod_is_asked_for_to_try_an_agent(db):
    await fail(db)
    task_id = await create(db, agent="claude-code", workers=3)
    podless = "select task_id, job from ado.podless_jobs($1, 10)"
    assert await raw(db, podless, list(OFFERS)) == []
    await due(db)
    assert [tuple(row) for row in await raw(db, podless, list(OFFERS))] == [(task_id, 0)]
    await place(db, "p", task_id, 0)
    assert await raw(db, podless, list(OFFERS)) == []


async def test_the_pods_of_waiting_jobs_do_not_claim_them_and_one_tries(db):
    await fail(db)
    task_id = await create(db, agent="claude-code", workers=2)
    for job in range(2):
        await register(db, f"pod-{job}", capabilities=OFFERS)
        await place(db, f"pod-{job}", task_id, job)
        assert await claimed(db, f"pod-{job}") == []
    await due(db)
    first, second = await asyncio.gather(claimed(db, "pod-0"), claimed(db, "pod-1"))
    assert len(first + second) == 1


async def test_the_views_say_why_a_job_waits_and_until_when(db):
    await fail(db)
    task_id = await create(db, agent="claude-code")
    rows = await raw(db, "select distinct unmet, help from ado.why_pending where task_id = $1", task_id)
    ((unmet, help_),) = [tuple(row) for row in rows]
    assert unmet == "agent_unhealthy"
    assert help_.startswith(
        "agent claude-code is unhealthy: its last 5 attempts failed before it did anything, the last one with auth. "
        "A job tries it at "
    )
    await due(db)
    assert "The next job tries it" in (await agents.unhealthy(db))[0].why
    await claim(db)
    assert (await agents.unhealthy(db))[0].why.endswith("A job tries it now")
    assert (await agents.unhealthy(db))[0].job_id == f"task-{task_id}/0"


async def test_a_job_that_was_not_started_in_time_says_that_its_agent_was_unhealthy(db):
    await fail(db)
    await create(db, agent="claude-code", start_within_seconds=5.0)
    await raw(db, "update ado.tasks set start_by = now() - interval '1 second'")
    (ended,) = await jobs.fail_unstarted(db)
    job = await jobs.get(db, ended.task_id, ended.job)
    assert "agent claude-code is unhealthy" in job.message


async def test_failures_that_nobody_adds_to_are_forgotten_after_a_day(db):
    await fail(db)
    assert await agents.prune(db) == 0
    await raw(db, "update ado.agent_failures set failed_at = now() - interval '25 hours'")
    assert await agents.prune(db) == 1
