"""An outage longer than every lease, with 20 running jobs: no job is requeued, no event is lost, readers resume.

Short with scaled-down settings; the long form, with the defaults, is marked ``long``.
"""

import asyncio
import random
import sys
from dataclasses import dataclass

import pytest
from support import stream, truth
from support.field import REPLICAS, Field
from support.program import until
from support.readers import CommandReader, read_through, read_wandering

JOBS, SLOTS = 20, 10
DEFAULTS = {"ADO_HEARTBEAT_SECONDS": "5", "ADO_SUSPECT_SECONDS": "15", "ADO_LEASE_SECONDS": "30"}


@dataclass(frozen=True)
class Scale:
    """How long an outage takes, and what the agents write meanwhile."""

    away: float
    chunks: int
    pause: float
    env: dict
    limit: float


QUICK = {"ADO_SUSPECT_SECONDS": "3", "ADO_LEASE_SECONDS": "8", "ADO_AWAY_SECONDS": "2.6"}
"""In the proportions of the defaults. A busy machine takes seconds to start twenty jobs: leases must outlast that."""
SHORT = Scale(9, 30, 0.4, QUICK, 240)
MINUTE = Scale(60, 90, 1, DEFAULTS, 400)
TWO_MINUTES = Scale(120, 150, 1, DEFAULTS, 500)


def without_postgres(field, away):
    field.stop_postgres()
    field.last(away)
    field.start_postgres()


def without_replicas(field, away):
    for index in range(REPLICAS):
        field.replicas[index].kill()
        field.replicas[index].wait()
    field.last(away)
    for index in range(REPLICAS):
        field.start_replica(index)


def with_a_deaf_postgres(field, away):
    for index in range(REPLICAS):
        field.links[f"pg{index}"].go_deaf()
    field.last(away)
    field.go()
    for index in range(REPLICAS):
        field.links[f"pg{index}"].cut()


def with_one_replica_that_postgres_does_not_answer(field, away):
    field.links["pg0"].go_deaf()
    field.last(away)
    field.go()


OUTAGES = [without_postgres, without_replicas, with_a_deaf_postgres, with_one_replica_that_postgres_does_not_answer]


async def outlast(outage, scale):
    with Field(env=scale.env) as field:
        for _ in range(JOBS // SLOTS):
            field.add_worker("--slots", str(SLOTS))
        task = field.create(stream.command(7, scale.chunks, scale.pause), workers=JOBS)
        urls, token = field.view_urls, field.cluster.token
        command = CommandReader(field, task, urls)
        try:
            async with asyncio.timeout(scale.limit), asyncio.TaskGroup() as group:
                through = group.create_task(read_through(urls, token, task))
                wandering = group.create_task(read_wandering(urls, token, task, random.Random(1)))
                writing = "select count(distinct job) from ado.events where type = 'output'"
                await asyncio.to_thread(until, lambda: field.sql(writing) == [(JOBS,)], "20 jobs that write", 60)
                await asyncio.to_thread(until, command.seen, "the command to know its task")
                await asyncio.to_thread(outage, field, scale.away)
                await asyncio.to_thread(until, lambda: command.process.poll() is not None, "the end", scale.limit)
        except BaseException:
            sys.stdout.write(field.complaints())
            raise
        log = truth.stored(field, task)
        truth.check_order(log)
        assert not [event for event in log if event["type"] in ("requeued", "released")]
        assert truth.check_bytes(log, 7, scale.chunks) == {(job, 1) for job in range(JOBS)}
        for name, seen in (("through", through.result()), ("wandering", wandering.result())):
            truth.check_reader(name, seen, log)
        assert command.process.returncode == 0, command.said()
        truth.check_reader("command", command.seen(), log)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("outage", OUTAGES)
async def test_an_outage_longer_than_every_lease_requeues_no_job_and_loses_no_event(outage):
    await outlast(outage, SHORT)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_two_minutes_without_postgres_requeue_no_job_and_lose_no_event():
    await outlast(without_postgres, TWO_MINUTES)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_minute_without_replicas_requeues_no_job_and_loses_no_event():
    await outlast(without_replicas, MINUTE)
