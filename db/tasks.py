"""Typed functions over ``sql/queries/tasks.sql``, ``task_lists.sql``, ``pauses.sql`` and ``task_ends.sql``."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, get_args

import asyncpg
import orjson

from db import dependencies, events, questions
from db.actor import Actor, parameter
from db.database import Database
from db.model import JobRow, NewTask, Status, TaskRow, parameters_of


def _text(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


async def create_all(db: Database, new: Sequence[NewTask]) -> list[TaskRow | None]:
    """Store tasks in one commit, no two of them from one file or of one schedule.

    None for each whose idempotency key is taken, whose file is not there, whose schedule has moved on, or that may not
    start after what it names.
    """
    values = orjson.dumps([_columns(position, task) for position, task in enumerate(new)]).decode()
    try:
        rows = await db.announced("create_tasks", alone=len(new) == 1, tasks=values)
    except asyncpg.CheckViolationError:
        await events.extend(db, 1000)  # tasks were created faster than the janitor adds partitions of the log
        rows = await db.announced("create_tasks", alone=len(new) == 1, tasks=values)
    created: list[TaskRow | None] = [None] * len(new)
    for row in rows:
        created[row["position"]] = TaskRow.created(
            row["task_id"], row["created_at"], row["start_by"], new[row["position"]]
        )
    return created


_STORED_AS_THEY_ARE = (
    *("prompt", "agent", "workers", "requires", "priority", "retries", "timeout_seconds", "start_within_seconds"),
    *("workspace", "pod", "on_failure", "idempotency_key", "base_file", "actor", "trust_project", "checks", "budget"),
)


def _columns(position: int, task: NewTask) -> dict[str, Any]:
    pod = ["pod"] if task.pod else []
    return {
        **{name: getattr(task, name) for name in _STORED_AS_THEY_ARE},
        **parameters_of(task.resources),
        "position": position,
        "agent_args": _text(task.agent_args),
        "labels": dict(task.labels),
        "input_digest": task.digest.hex(),
        "env_names": sorted(task.environment),
        "environment": None if task.sealed_environment else dict(task.environment) or None,
        "sealed": task.sealed_environment,
        "needs": [sorted({agent, *task.requires, *pod}) for agent in task.agents or [task.agent]],
        "event": _created_event(task),
        "agents": task.agents or None,
        **(asdict(task.schedule) if task.schedule else {}),
        "after": task.predecessors,
        "after_any_end": task.any_end,
    }


def _created_event(task: NewTask) -> dict[str, Any]:
    event: dict[str, Any] = {"agent": task.agent, "workers": task.workers, "prompt": task.prompt[:200]}
    event |= {"agents": task.agents} if task.agents else {}
    if task.predecessors:
        event["after"] = [f"task-{task_id}" for task_id in task.predecessors]
    return event | ({"by": task.actor.name} if task.actor and task.actor.name else {})


@dataclass(frozen=True, slots=True)
class KeyedTask:
    """The task that was created under an idempotency key, the digest of its input, and who created it."""

    task_id: int
    digest: bytes
    created_by: str | None


async def find_by_key(db: Database, key: str) -> KeyedTask | None:
    """Return the task that was created under an idempotency key."""
    row = await db.optional("find_task_by_key", idempotency_key=key)
    return KeyedTask(row["task_id"], row["input_digest"], row["created_by"]) if row else None


_MESSAGE_CHARS = 1_000_000
"""Characters of the messages of a task's jobs together; in lists each message has the least number."""
_LISTED_PROMPT_CHARS = 1000


async def get(db: Database, task_id: int, *, job: int | None = None, result_limit: int = 2**62) -> TaskRow | None:
    """Return a task with its jobs; of results that of ``job``, or ``result_limit`` bytes, the small ones first."""
    row = await db.optional("get_task", task_id=task_id)
    if row is None:
        return None
    jobs = await db.many(
        "get_jobs", task_ids=[task_id], job=job, result_limit=result_limit, message_chars=_MESSAGE_CHARS
    )
    return TaskRow.of(row, [JobRow.of(job) for job in jobs])


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What keeps a live worker from a queued job; no ``worker_id``: there is no live worker. No ``unmet``: nothing."""

    job: int
    worker_id: str | None
    state: str | None
    capabilities: Sequence[str] | None
    unmet: str | None
    help: str


async def obstacles(db: Database, task_id: int) -> list[Obstacle]:
    """Return what keeps each live worker from the task's job that may start first; empty if no job waits."""
    return [Obstacle(**row) for row in await db.many("list_obstacles", task_id=task_id)]


async def limit_ends(db: Database, task_id: int) -> dict[int, datetime]:
    """Return until when running jobs of a task wait for a rate limit, as their workers say."""
    rows = await db.many("list_limit_waits", task_id=task_id)
    ends = {row["job"]: _time(row["until"]) for row in rows}
    return {job: end for job, end in ends.items() if end is not None and end > datetime.now(UTC)}


def _time(text: str | None) -> datetime | None:
    """Return a time that a worker wrote; None if it is none."""
    with contextlib.suppress(ValueError):
        time = datetime.fromisoformat(text or "")
        return time if time.tzinfo else None
    return None


STATUSES: tuple[Status, ...] = get_args(Status)
_SEARCHED_TASKS = 10_000
_SEARCHED_BYTES = 16 * 1024 * 1024
"""How many tasks, and bytes of their prompts, one page of a search looks at: about a tenth of a second."""


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Which tasks are listed: those that match all of it."""

    statuses: Sequence[Status] = STATUSES
    labels: Mapping[str, str] = field(default_factory=dict)
    label_names: Sequence[str] = ()
    """Labels that a task has, whatever their values."""
    since: datetime | None = None
    """When the oldest were created."""
    creators: Sequence[str] | None = None
    """Public ids of users and services; None: whoever created them."""
    search: str | None = None
    """A text in the prompt or in a label written as name=value, in whatever case."""
    until: datetime | None = None
    """Before when the newest were created."""
    agents: Sequence[str] | None = None
    """None: any agent."""


EVERY_TASK = TaskFilter()


async def page(
    db: Database, selection: TaskFilter = EVERY_TASK, *, limit: int, bytes_: int, before: int | None
) -> tuple[list[TaskRow], int | None]:
    """Return up to ``limit`` tasks and about ``bytes_`` of them, newest first, and where the next page begins.

    They have the beginnings of their prompts and messages, and no results. A page of a search may be empty while there
    is a next one; None: there is none.
    """
    rows = await db.many(
        "list_tasks",
        **parameters_of(selection, labels=_text(dict(selection.labels))),
        before=before,
        scan_limit=limit if selection.search is None else _SEARCHED_TASKS,
        scan_bytes=_SEARCHED_BYTES,
        row_limit=limit,
        byte_limit=bytes_,
        prompt_chars=_LISTED_PROMPT_CHARS,
    )
    after: int | None = rows[0]["next"]
    rows = [row for row in rows if row["task_id"] is not None]
    named = [row["task_id"] for row in rows]
    jobs = await db.many("get_jobs", task_ids=named, job=None, result_limit=0, message_chars=0) if named else []
    of_task = {key: [JobRow.of(job) for job in group] for key, group in groupby(jobs, lambda job: job["task_id"])}
    return [TaskRow.of(row, of_task.get(row["task_id"], [])) for row in rows], after


async def cancel(db: Database, task_id: int, reason: str | None, actor: Actor | None = None) -> None:
    """Stop a task, then settle it; both are harmless when repeated."""
    await db.many("cancel_task", task_id=task_id, reason=reason, actor=parameter(actor))
    await settle(db, task_id)


async def pause(db: Database, task_id: int, reason: str | None, actor: Actor | None = None) -> None:
    """Pause the queued jobs of a task, and mark the running ones to be paused."""
    await db.many("pause_task", task_id=task_id, reason=reason, actor=parameter(actor))


async def resume(db: Database, task_id: int, actor: Actor | None = None) -> bool:
    """Queue the paused jobs of a task again; False when nothing is paused."""
    resumed = await db.optional("resume_task", task_id=task_id, actor=parameter(actor)) is not None
    if resumed:
        await questions.resume_answered(db)
    return resumed


async def retry(db: Database, task_id: int, actor: Actor | None = None, *, job: int | None = None) -> bool:
    """Queue the failed and cancelled jobs again, or one of them; False when there is nothing to retry."""
    return await db.optional("retry_task", task_id=task_id, job=job, actor=parameter(actor)) is not None


async def update(
    db: Database,
    task_id: int,
    version: int,
    priority: int | None,
    labels: Mapping[str, str] | None,
    actor: Actor | None = None,
) -> bool:
    """Change priority or labels if the task still has this version; False if it has another one."""
    row = await db.optional(
        "update_task",
        task_id=task_id,
        version=version,
        priority=priority,
        labels=_text(dict(labels)) if labels is not None else None,
        actor=parameter(actor),
    )
    return row is not None


async def pick(db: Database, task_id: int, job: int, actor: Actor | None = None) -> bool:
    """Record which job's result a person has picked; False if that is recorded already, or cannot be."""
    return await db.optional("pick_job", task_id=task_id, job=job, actor=parameter(actor)) is not None


async def remove(db: Database, task_id: int, actor: Actor | None = None) -> Status | None:
    """Delete a task that has ended, with everything of it; return the status it had, None for an unknown task."""
    while True:
        outcome = (await db.one("remove_task", task_id=task_id, actor=parameter(actor)))["found"]
        if outcome != "awaited":
            status: Status | None = outcome
            return status
        await dependencies.start_waiting(db)


async def forget_environments(db: Database, keep_seconds: float) -> int:
    """Delete the environment values of tasks that ended so long ago; return of how many tasks."""
    forgotten: int = (await db.one("forget_environments", keep_seconds=keep_seconds))["tasks"]
    return forgotten


async def environment_forgotten(db: Database, task_id: int) -> bool:
    """Whether the values of a task's environment were deleted."""
    return await db.optional("forgotten_environment", task_id=task_id) is not None


async def settle(db: Database, task_id: int) -> str | None:
    """Write the terminal event if every job has ended; return the task's final status when this call wrote it."""
    return (await settle_all(db, [task_id])).get(task_id)


async def settle_all(db: Database, task_ids: Sequence[int]) -> dict[int, str]:
    """Settle tasks in one commit, then start those that wait for them; return the final status of those it ended."""
    rows = await db.many("settle_tasks", task_ids=task_ids) if task_ids else []
    if any(row["is_awaited"] for row in rows):
        await dependencies.start_waiting(db)
    return {row["task_id"]: row["status"] for row in rows}


async def stop_siblings(db: Database, task_id: int) -> None:
    """Stop the other jobs of a task with a failed one, where it says fail_fast."""
    await db.many("stop_siblings", task_id=task_id)


async def after_failure(db: Database, task_id: int) -> None:
    """Stop the siblings where the task says fail_fast, then settle."""
    await stop_siblings(db, task_id)
    await settle(db, task_id)


async def unsettled(db: Database) -> Sequence[int]:
    """Return open tasks that still need settle or stop_siblings."""
    return [row["task_id"] for row in await db.many("unsettled_tasks")]


@dataclass(frozen=True, slots=True)
class ValueRow:
    """One entry of a task's key-value store; ``value`` is JSON text."""

    key: str
    value: str
    version: int
    idempotency_key: str | None
    """Of the last write."""


async def get_value(db: Database, task_id: int, key: str) -> ValueRow | None:
    """Return one value of a task's store."""
    row = await db.optional("get_kv", task_id=task_id, key=key)
    return ValueRow(**dict(row)) if row else None


async def list_values(db: Database, task_id: int, prefix: str) -> list[ValueRow]:
    """Return the values whose key begins with ``prefix``, by key."""
    rows = await db.many("list_kv", task_id=task_id, prefix=prefix)
    return [ValueRow(**dict(row)) for row in rows]


async def count_values(db: Database, task_id: int) -> int:
    """Return how many keys a task's store has."""
    return int((await db.one("count_kv", task_id=task_id))["keys"])


async def set_value(
    db: Database,
    task_id: int,
    key: str,
    value: Any,
    *,
    version: int | None,
    key_limit: int,
    byte_limit: int = 2**62,
    idempotency_key: str | None = None,
    writer: tuple[int, int] | None = None,
    actor: Actor | None = None,
) -> ValueRow | None:
    """Write a value, with ``version`` only over that version (0: only if new); None when it was refused.

    A job writes as ``writer``, its index and attempt, and only while that attempt runs.
    """
    row = await db.optional(
        "set_kv",
        task_id=task_id,
        key=key,
        value=_text(value) or "null",
        version=version,
        key_limit=key_limit,
        byte_limit=byte_limit,
        idempotency_key=idempotency_key,
        job=writer[0] if writer else None,
        attempt=writer[1] if writer else None,
        actor=parameter(actor),
    )
    return ValueRow(**dict(row)) if row else None


async def watched(
    db: Database, *, newest: int | None, known: Sequence[int], late_ids: int, limit: int, creator: str | None = None
) -> list[tuple[int, Status, int]]:
    """Return id, status and last seq of the newest open tasks, of known ones, and of those around ``newest``.

    With ``creator``, the public id of a user or service, only of tasks that it created.
    """
    rows = await db.many(
        "watched_tasks", newest=newest, known=known, late_ids=late_ids, row_limit=limit, creator=creator
    )
    return [(row["task_id"], row["status"], row["last_seq"]) for row in rows]
