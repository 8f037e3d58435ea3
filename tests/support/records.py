"""Tasks, workers and batches for tests of the statements."""

from datetime import UTC, datetime

import orjson

from db import events, jobs, tasks, workers
from db.events import Batch, NewEvent
from db.model import NewTask, ResourceAmounts

LEASE, SUSPECT = 30.0, 15.0
MACHINE = ResourceAmounts(8, 2**34)


def new_task(**values):
    wish = {
        "prompt": "true",
        "agent": "shell",
        "agent_args": None,
        "workers": 1,
        "requires": (),
        "resources": ResourceAmounts(),
        "priority": 0,
        "retries": 0,
        "timeout_seconds": None,
        "start_within_seconds": None,
        "environment": {},
        "sealed_environment": None,
        "labels": {},
        "workspace": None,
        "pod": None,
        "on_failure": "continue",
        "idempotency_key": None,
        "digest": b"",
    }
    return NewTask(**{**wish, **values})


async def create(db, **values):
    created = (await tasks.create_all(db, [new_task(**values)]))[0]
    return created.task_id if created else None


async def closed(db, report):
    """Close one attempt; the stored job and whether siblings must stop, or None when the fence refuses it."""
    return (await jobs.finish_all(db, [report]))[0]


async def register(db, worker_id="w1", *, instance="i1", slots=100, capabilities=("shell",), resources=MACHINE):
    registration = workers.Registration(
        worker_id=worker_id, instance=instance, capabilities=capabilities, resources=resources, labels={},
        slots=slots, version="1", pid=1, host="host",
    )  # fmt: skip
    session, _ = await workers.register(db, registration, f"session-{worker_id}-{instance}")
    return session


async def claim(db, worker_id="w1", *, limit=100):
    """Claim, after a look at the worker; None when the guard refuses it."""
    present = await workers.registered(db, worker_id)
    return await jobs.claim(
        db,
        worker_id=worker_id,
        session=present.session,
        claims=present.claims,
        limit=limit,
        suspect_seconds=SUSPECT,
        lease_seconds=LEASE,
    )


async def append(db, batches, lease_seconds=LEASE, *, together=False, output_limit=2**62, event_limit=2**62, live=None):
    """Store batches in one commit; return for each whether it was stored. ``together``: as if there were several."""
    limits = {"output_limit": output_limit, "event_limit": event_limit}
    if together or len(batches) > 1:
        return await events.append_all(db, batches, lease_seconds, **limits)
    return [await events.append(db, batches[0], lease_seconds, **limits, live=live)]


def batch(task_id, number=1, *, job=0, attempt=1, worker_id="w1", data=b"x", events=1):
    at = datetime.now(UTC)
    return Batch(task_id, job, attempt, worker_id, number, [NewEvent("output", "stdout", at, data, None)] * events)


def finish(
    task_id, outcome="succeeded", *, job=0, attempt=1, worker_id="w1", last_batch=None, exit_code=None, reason=None,
    usage=None,
):  # fmt: skip
    spent = None if usage is None else orjson.dumps(usage).decode()
    return jobs.Finish(
        task_id=task_id, job=job, attempt=attempt, worker_id=worker_id, last_batch=last_batch, outcome=outcome,
        exit_code=exit_code, reason=reason, usage=spent,
    )  # fmt: skip
