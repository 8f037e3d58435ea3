"""Tokens: created here, shown once, stored as digests."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from db.actor import Actor, parameter
from db.database import Database
from db.paging import ALL, PageLimit, more


@dataclass(frozen=True, slots=True)
class NewToken:
    """A new token, whose text is shown once; ``values`` are the parameters of create_token."""

    token: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TokenRow:
    """Who a token belongs to."""

    token_id: str
    role: str
    worker_id: str | None
    capabilities: Sequence[str] | None
    task_id: int | None
    job: int | None
    attempt: int | None
    expires_at: datetime | None
    valid: bool
    user_id: int | None = None
    user_name: str | None = None
    name: str | None = None
    """What the token is for; the name of its service."""
    opened_with: str | None = None
    """Public id of the token that opened this session; None for a token that is no session."""

    @property
    def user_public_id(self) -> str | None:
        """Public id of the user; None for a service."""
        return None if self.user_id is None else f"user-{self.user_id}"

    @property
    def account(self) -> str:
        """Public id of who acts: the user, or the service's token."""
        return self.user_public_id or self.opened_with or self.token_id

    @property
    def account_name(self) -> str:
        """The name to show of who acts."""
        return self.user_name or self.name or self.token_id


def digest(token: str) -> bytes:
    """Return the digest that is stored for a token. Tokens are 256 random bits, so a plain hash suffices."""
    return hashlib.sha256(token.encode()).digest()


def secret() -> str:
    """Make the text of a token."""
    return f"ado_{secrets.token_urlsafe(32)}"


def new(
    role: str,
    *,
    worker_id: str | None = None,
    capabilities: Sequence[str] | None = None,
    expires_seconds: float | None = None,
    user_id: int | None = None,
    name: str | None = None,
    single: bool = False,
) -> NewToken:
    """Return a new token, which is not stored yet. ``single``: it serves one worker process and ends with it."""
    token = secret()
    values = {
        "token_id": f"tok-{secrets.token_hex(6)}",
        "digest": digest(token),
        "role": role,
        "worker_id": worker_id,
        "capabilities": None if capabilities is None else sorted(set(capabilities)),
        "expires_seconds": expires_seconds,
        "user_id": user_id,
        "token_name": name,
        "single": single,
    }
    return NewToken(token, values)


async def create(db: Database, token: NewToken, actor: Actor | None = None) -> Mapping[str, Any]:
    """Store a token; return its id, role and expiry."""
    return dict(await db.one("create_token", **token.values, actor=parameter(actor)))


async def find(db: Database, token: str) -> TokenRow | None:
    """Return who a token belongs to, valid or not; None for an unknown one."""
    hashed = digest(token)
    row = await db.optional("find_token", digest=hashed) or await db.optional("find_attempt_token", digest=hashed)
    return TokenRow(**dict(row)) if row else None


async def listing(
    db: Database, after: tuple[datetime, str] | None = None, room: PageLimit = ALL
) -> tuple[list[Mapping[str, Any]], bool]:
    """Return tokens without their secrets, the oldest first, after the one of a time and id; and if there are more."""
    at, token_id = after or (None, None)
    rows = await db.many("list_tokens", after_at=at, after=token_id, row_limit=room.rows, byte_limit=room.bytes)
    return [{name: value for name, value in row.items() if name != "more"} for row in rows], more(rows)


async def revoke(db: Database, token_id: str, actor: Actor | None = None) -> Mapping[str, Any] | None:
    """Revoke a token; None for an unknown id."""
    row = await db.optional("revoke_token", token_id=token_id, actor=parameter(actor))
    return dict(row) if row else None


async def mark_used(db: Database, token_ids: Collection[str]) -> None:
    """Record that tokens were used, each at most once a minute."""
    await db.many("mark_used_tokens", token_ids=sorted(token_ids))


async def end_single(db: Database, worker_id: str) -> None:
    """Revoke the tokens that served one process of a worker, which has ended."""
    await db.many("end_single_tokens", worker_id=worker_id)


async def prune(db: Database) -> int:
    """Delete tokens of workers and sessions that can no longer be used; return how many."""
    return len(await db.many("prune_tokens"))
