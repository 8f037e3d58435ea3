"""Typed functions over ``sql/queries/notifications.sql``: the targets of notifications, and the outbox."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import orjson

from db.actor import Actor, parameter
from db.database import Database
from db.model import record_of

TargetFormat = Literal["json", "slack", "ntfy"]
NotificationEvent = Literal["question", "succeeded", "failed", "cancelled"]
GIVE_UP_SECONDS = 7 * 86_400.0
"""A notification that cannot be delivered for a week is given up."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The key of a target's signatures: in clear, or sealed with the replicas' data key."""

    secret: str | None
    sealed: str | None


@dataclass(frozen=True, slots=True)
class NewTarget:
    """A webhook target."""

    url: str
    format: TargetFormat
    events: Sequence[NotificationEvent]
    labels: Mapping[str, str]
    mine: bool
    key: SigningKey
    created_by: str | None


@dataclass(frozen=True, slots=True)
class TargetRow:
    """A stored target."""

    target_id: int
    url: str
    format: TargetFormat
    events: list[NotificationEvent]
    labels: dict[str, str]
    mine: bool
    created_by: str | None
    creator_name: str | None
    created_at: datetime

    @classmethod
    def of(cls, row: Any) -> TargetRow:
        """Make the record of a row."""
        return record_of(cls, row, labels=orjson.loads(row["labels"]))


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """A target with what became of its notifications; ended ones are counted for a week."""

    target: TargetRow
    waiting: int
    delivered: int
    failed: int
    last_error: str | None


@dataclass(frozen=True, slots=True)
class NotificationRow:
    """A notification that this replica has claimed, with its target."""

    notification_id: int
    target_id: int
    event: str
    body: str
    """JSON."""
    url: str
    format: TargetFormat
    key: SigningKey


async def add_target(db: Database, new: NewTarget, *, most: int, actor: Actor | None) -> TargetRow | None:
    """Store a target; None: its creator has ``most`` targets."""
    row = await db.optional(
        "add_notification_target",
        url=new.url,
        format=new.format,
        events=list(new.events),
        labels=orjson.dumps(dict(new.labels)).decode(),
        mine=new.mine,
        secret=new.key.secret,
        sealed=new.key.sealed,
        created_by=new.created_by,
        most=most,
        actor=parameter(actor),
    )
    return TargetRow.of(row) if row else None


async def target(db: Database, target_id: int) -> tuple[TargetRow, SigningKey] | None:
    """Return a target and the key of its signatures; None for an unknown one."""
    row = await db.optional("find_notification_target", target_id=target_id)
    return (TargetRow.of(row), SigningKey(row["secret_text"], row["sealed"])) if row else None


async def targets(db: Database, creator: str | None, most: int) -> list[TargetStatus]:
    """Return the targets of a creator; None: of everybody."""
    rows = await db.many("list_notification_targets", creator=creator, most=most)
    return [record_of(TargetStatus, row, target=TargetRow.of(row)) for row in rows]


async def remove_target(db: Database, target_id: int, creator: str | None, actor: Actor | None) -> bool:
    """Remove a target, and what waits for it; False: there is none, or it is another creator's."""
    values = {"target_id": target_id, "creator": creator, "actor": parameter(actor)}
    return await db.optional("remove_notification_target", **values) is not None


async def claim(
    db: Database, *, target_limit: int, busy: Collection[int] = (), only: int | None = None
) -> list[NotificationRow]:
    """Take what is due, at most ``target_limit`` of each target that is not ``busy``, or of ``only`` one target."""
    rows = await db.many("claim_notifications", busy=list(busy), only=only, target_limit=target_limit)
    return [record_of(NotificationRow, row, key=SigningKey(row["secret"], row["sealed"])) for row in rows]


async def record(
    db: Database, errors: Mapping[int, str | None], give_up_seconds: float = GIVE_UP_SECONDS
) -> dict[int, str]:
    """Store what became of notifications: an error, or None where they arrived; return the new states."""
    values = {"ids": list(errors), "errors": list(errors.values()), "give_up_seconds": give_up_seconds}
    return {row["notification_id"]: row["state"] for row in await db.many("record_deliveries", **values)}


async def prune(db: Database) -> int:
    """Delete notifications that ended a week ago; return how many."""
    row = await db.one("prune_notifications")
    pruned: int = row["pruned"]
    return pruned
