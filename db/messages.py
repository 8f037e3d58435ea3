"""Typed functions over ``sql/queries/messages.sql``: words to the agents of jobs, and their receipts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import orjson

from db.actor import Actor, parameter
from db.database import Database
from db.model import AttemptKey, HeldAttempt, parameters_of, record_of

MessageState = Literal["waiting", "delivered", "refused"]


@dataclass(frozen=True, slots=True)
class Recipient:
    """A job that a message is for; without ``delivered_at`` its agent has not taken the message."""

    job: int
    attempt: int | None
    """The attempt whose agent took it."""
    delivered_at: datetime | None
    is_cancelled: bool

    @property
    def state(self) -> MessageState:
        """What has become of the message; a cancelled job takes none, unless it is queued again."""
        if self.delivered_at is not None:
            return "delivered"
        return "refused" if self.is_cancelled else "waiting"


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A message with the jobs that it is for."""

    message_id: int
    task_id: int
    job: int | None
    """The job that it was sent to; None: every job that was not cancelled."""
    text: str
    by: str | None
    created_at: datetime
    recipients: tuple[Recipient, ...]

    @classmethod
    def of(cls, row: Any) -> MessageRow:
        """Make one from a row of list_messages."""
        recipients = tuple(
            Recipient(**{**item, "delivered_at": at and datetime.fromisoformat(at)})
            for item in orjson.loads(row["jobs"])
            for at in (item["delivered_at"],)
        )
        return record_of(cls, row, by=row["sender_name"], recipients=recipients)


@dataclass(frozen=True, slots=True)
class KeyedMessage:
    """The message that was sent under an idempotency key, and who sent it."""

    message_id: int
    job: int | None
    text: str
    sender: str | None


@dataclass(frozen=True, slots=True)
class Counts:
    """How many messages a task has, and how many of one sender wait."""

    messages: int
    waiting: int


async def send(
    db: Database,
    task_id: int,
    job: int | None,
    text: str,
    *,
    idempotency_key: str | None,
    task_limit: int,
    waiting_limit: int,
    open_only: bool = False,
    actor: Actor | None = None,
) -> int | None:
    """Store a message for a job, or for all; return its number, or None if it was refused.

    With ``open_only`` jobs that have ended do not continue with it.
    """
    row = await db.optional(
        "send_message",
        task_id=task_id,
        job=job,
        text=text,
        idempotency_key=idempotency_key,
        task_limit=task_limit,
        waiting_limit=waiting_limit,
        open_only=open_only,
        actor=parameter(actor),
    )
    return row["message_id"] if row else None


async def find_by_key(db: Database, task_id: int, key: str) -> KeyedMessage | None:
    """Return the message of a task that was sent under an idempotency key."""
    row = await db.optional("find_message_by_key", task_id=task_id, idempotency_key=key)
    return KeyedMessage(**dict(row)) if row else None


async def counts(db: Database, task_id: int, sender: str | None) -> Counts:
    """Return the counts that are limited."""
    return Counts(**dict(await db.one("message_counts", task_id=task_id, sender=sender)))


async def unkept_session(db: Database, task_id: int, job: int | None) -> int | None:
    """Return an ended job, among all or ``job``, that cannot continue because no session of it is kept."""
    row = await db.optional("unkept_session", task_id=task_id, job=job)
    return row["job"] if row else None


async def page(
    db: Database, task_id: int, *, after: int = 0, row_limit: int, byte_limit: int
) -> tuple[list[MessageRow], int | None]:
    """Return messages of a task in order, and after which one the next page begins; None: it is the last."""
    rows = await db.many(
        "list_messages", task_id=task_id, after=after, message_id=None, row_limit=row_limit, byte_limit=byte_limit
    )
    return [MessageRow.of(row) for row in rows], rows[-1]["message_id"] if rows and rows[-1]["more"] else None


async def get(db: Database, task_id: int, message_id: int) -> MessageRow | None:
    """Return one message of a task."""
    rows = await db.many("list_messages", task_id=task_id, after=0, message_id=message_id, row_limit=1, byte_limit=1)
    return MessageRow.of(rows[0]) if rows else None


async def waiting(db: Database, worker_id: str) -> list[tuple[int, AttemptKey]]:
    """Return the messages without a receipt to a worker's running attempts, in order."""
    rows = await db.many("waiting_messages", worker_id=worker_id)
    return [(row["message_id"], (row["task_id"], row["job"], row["attempt"])) for row in rows]


async def text(db: Database, message_id: int) -> str | None:
    """Return the words of a message."""
    row = await db.optional("get_message", message_id=message_id)
    return row["text"] if row else None


async def of_job(
    db: Database, task_id: int, job: int, *, after: int, undelivered: bool, byte_limit: int
) -> Sequence[tuple[int, str]]:
    """Return number and words of a job's messages in order, up to so many bytes, but at least one if there is one."""
    rows = await db.many(
        "job_messages", task_id=task_id, job=job, after=after, undelivered=undelivered, byte_limit=byte_limit
    )
    return [(row["message_id"], row["text"]) for row in rows]


async def deliver(db: Database, receipt: HeldAttempt, message_ids: Sequence[int]) -> bool:
    """Store the receipts of messages, each once; False if the fence refused them."""
    row = await db.optional("deliver_messages", **parameters_of(receipt, message_ids=message_ids))
    return row is not None
