"""Typed functions over ``sql/queries/users.sql``: users, their limits, and who owns a task."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from db.actor import Actor, parameter
from db.database import Database
from db.model import record_of
from db.paging import ALL, PageLimit, more


@dataclass(frozen=True, slots=True)
class UserLimits:
    """Most jobs that run and that wait, and US dollars within 24 hours; None: no limit of one's own."""

    running: int | None = None
    queued: int | None = None
    cost_per_day: Decimal | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> UserLimits:
        """Make them from the columns of a user or role."""
        return cls(row["running_limit"], row["queued_limit"], row["cost_limit"])

    def parameters(self) -> dict[str, Any]:
        """Return the statements' parameters."""
        return {"running_limit": self.running, "queued_limit": self.queued, "cost_limit": self.cost_per_day}


NO_LIMITS = UserLimits()


@dataclass(frozen=True, slots=True)
class UserRow:
    """A person who may call."""

    user_id: int
    name: str
    email: str | None
    role: str
    external_id: str | None
    limits: UserLimits
    created_at: datetime
    disabled_at: datetime | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> UserRow:
        """Make one from a row that has the columns of ado.users."""
        return record_of(cls, row, limits=UserLimits.of(row))


async def add(
    db: Database,
    name: str,
    role: str,
    *,
    email: str | None,
    external_id: str | None,
    limits: UserLimits,
    actor: Actor | None,
) -> UserRow | None:
    """Store a user; None when the name or the external id is another one's."""
    row = await db.optional(
        "add_user",
        user_name=name,
        role=role,
        email=email,
        external_id=external_id,
        **limits.parameters(),
        actor=parameter(actor),
    )
    return UserRow.of(row) if row else None


async def find(db: Database, name: str) -> UserRow | None:
    """Return a user by name or public id."""
    row = await db.optional("find_user", user_name=name)
    return UserRow.of(row) if row else None


async def listing(db: Database, after: int | None = None, room: PageLimit = ALL) -> tuple[list[UserRow], bool]:
    """Return users, the oldest first, from the one after ``after`` on, and whether there are more."""
    rows = await db.many("list_users", after=after, row_limit=room.rows, byte_limit=room.bytes)
    return [UserRow.of(row) for row in rows], more(rows)


async def change(
    db: Database,
    user_id: int,
    *,
    actor: Actor | None,
    role: str | None = None,
    email: str | None = None,
    external_id: str | None = None,
    limits: UserLimits = NO_LIMITS,
    cleared: Sequence[str] = (),
    disabled: bool | None = None,
) -> UserRow | None:
    """Change what is not None and remove what is named in ``cleared``; None when the external id is taken.

    The tokens of a user who is disabled end.
    """
    row = await db.optional(
        "set_user",
        user_id=user_id,
        role=role,
        email=email,
        external_id=external_id,
        **limits.parameters(),
        cleared=list(cleared),
        disabled=disabled,
        actor=parameter(actor),
    )
    return UserRow.of(row) if row else None


async def set_role_limits(
    db: Database, role: str, limits: UserLimits, cleared: Sequence[str], actor: Actor | None
) -> UserLimits:
    """Change the limits of every user of a role who has none of their own; return them."""
    row = await db.one(
        "set_role_limits",
        role=role,
        **limits.parameters(),
        cleared=list(cleared),
        actor=parameter(actor),
    )
    return UserLimits.of(row)


async def role_limits(db: Database) -> dict[str, UserLimits]:
    """Return the limits by role."""
    return {row["role"]: UserLimits.of(row) for row in await db.many("list_role_limits")}


async def accounts(db: Database, name: str) -> list[str]:
    """Return the public ids of the user and the services with a name; a public id names itself."""
    return [row["account"] for row in await db.many("find_accounts", user_name=name)]


@dataclass(frozen=True, slots=True)
class QueueLimit:
    """How many jobs of a user wait, and how many may."""

    name: str
    limit: int
    queued: int


async def queue_limit(db: Database, user_id: int) -> QueueLimit | None:
    """Return the limit of a user's waiting jobs; None: no limit."""
    row = await db.optional("user_queue_limit", user_id=user_id)
    return QueueLimit(row["name"], row["queued_limit"], row["queued"]) if row else None


async def queue_limit_of_task(db: Database, task_id: int) -> QueueLimit | None:
    """Return the limit of the waiting jobs of a task's user; None: no limit."""
    row = await db.optional("task_queue_limit", task_id=task_id)
    return QueueLimit(row["name"], row["queued_limit"], row["queued"]) if row else None


async def owner(db: Database, task_id: int) -> str | None:
    """Return the public id of who created a task; None for an unknown task, or one older than users."""
    row = await db.optional("task_owner", task_id=task_id)
    return row["created_by"] if row else None


async def exists(db: Database, task_id: int) -> bool:
    """Whether there is a task."""
    return await db.optional("task_owner", task_id=task_id) is not None


async def owned(db: Database, task_ids: Collection[int], account: str) -> set[int]:
    """Return which of these tasks a user or service created."""
    rows = await db.many("tasks_of_owner", task_ids=sorted(task_ids), owner=account)
    return {row["task_id"] for row in rows}
