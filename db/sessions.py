"""Typed functions over ``sql/queries/sessions.sql``: codes for one use, and the sessions of the dashboard."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from db import tokens
from db.actor import Actor, parameter
from db.database import Database


async def create_code(
    db: Database, code: str, *, token_id: str, role: str, seconds: float, actor: Actor | None
) -> datetime:
    """Store a code of a token's holder; return when it expires."""
    row = await db.one(
        "create_session_code",
        digest=tokens.digest(code),
        token_id=token_id,
        role=role,
        seconds=seconds,
        actor=parameter(actor),
    )
    expires_at: datetime = row["expires_at"]
    return expires_at


async def open_session(
    db: Database, code: str, token: tokens.NewToken, *, seconds: float, actor: Actor
) -> Mapping[str, Any] | None:
    """Store the token of a new session; return its id, role and expiry, or None for a code that opens nothing."""
    row = await db.optional(
        "open_session",
        digest=tokens.digest(code),
        token_id=token.values["token_id"],
        token_digest=token.values["digest"],
        seconds=seconds,
        actor=parameter(actor),
    )
    return dict(row) if row else None


async def prune_codes(db: Database) -> int:
    """Delete the codes whose time is over; return how many."""
    return len(await db.many("prune_session_codes"))
