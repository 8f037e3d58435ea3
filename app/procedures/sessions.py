"""The procedures ``sessions.*``: signing in to the dashboard with a code for one use, in place of a token.

``ado open`` gets a code with its own token and hands it to the browser, whose page exchanges it. What an address bar, a
history or a log may keep is then worth nothing.
"""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

from app.access.auth import EXCHANGE, OPEN_SESSIONS, RANKS
from app.access.context import Context
from app.client import administration
from app.core.reasons import refusal
from app.rpc import request_id
from app.rpc.server.procedure import mutation
from app.shapes.records import RecordShape, Wire
from db import sessions, tokens
from db.actor import Actor

_CODE_SECONDS = 60.0
_SESSION_SECONDS = 12 * 3600.0


class SessionCodeInput(Wire):
    """The role of the session; absent: the caller's."""

    role: Literal["viewer", "developer", "operator", "admin"] | None = None


class SessionCode(administration.SessionCode, RecordShape, frozen=True, kw_only=True):
    """A code that opens one session."""


class ExchangeInput(Wire):
    """A code of ``sessions.code``."""

    code: Annotated[str, Meta(min_length=1, max_length=200)]


class OpenedSession(Wire, omit_defaults=False):
    """The token of a session, which is never shown again."""

    token: str
    token_id: str
    role: str
    expires_at: datetime


class EndedSession(Wire, omit_defaults=False):
    """The session's token is no longer valid."""

    token_id: str
    revoked_at: datetime


@mutation(access=OPEN_SESSIONS)
async def code(context: Context, input: SessionCodeInput) -> SessionCode:
    """Make a code that opens a session of the caller, once and within a minute."""
    caller = context.caller
    if caller.opened_with is not None:  # else a session could be prolonged without end
        step = "use the token with which the session was opened: ado open makes a code"
        raise refusal("forbidden", "a session opens no further sessions", hint=step)
    role = input.role or caller.role
    if RANKS.index(role) > RANKS.index(caller.role):
        raise refusal("invalid_input", f"role: a session of a {caller.role} may do no more", field="role")
    made = f"code_{secrets.token_urlsafe(32)}"
    actor = context.actor("sessions.code")
    expires_at = await sessions.create_code(
        context.db, made, token_id=caller.token_id, role=role, seconds=_CODE_SECONDS, actor=actor
    )
    return SessionCode(code=made, expires_at=expires_at)


@mutation(access=EXCHANGE)
async def exchange(context: Context, input: ExchangeInput) -> OpenedSession:
    """Open a session with a code; the call needs no token. Whoever comes first with a code has the session."""
    address, sign_ins = request_id.address.get(), context.services.sign_ins
    token = tokens.new("viewer")
    actor = Actor("sessions.exchange", address=address, request_id=request_id.current.get())
    async with sign_ins.lookup(address or ""):
        opened = await sessions.open_session(context.db, input.code, token, seconds=_SESSION_SECONDS, actor=actor)
    if opened is None:
        await sign_ins.slow_down(address or "")
        raise refusal("code_invalid", "the code was used before, has expired, or is unknown")
    return OpenedSession(token=token.token, **opened)


@mutation(access=OPEN_SESSIONS)
async def end(context: Context) -> EndedSession:
    """End the session that calls. Its open sockets and streams end within ten seconds."""
    caller = context.caller
    if caller.opened_with is None:
        raise refusal("forbidden", "the caller's token is no session", hint="ado token revoke ID ends any token")
    row = await tokens.revoke(context.db, caller.token_id, context.actor("sessions.end"))
    if row is None:
        raise refusal("no_such_token", f"there is no token {caller.token_id!r}")
    return EndedSession(token_id=row["token_id"], revoked_at=row["revoked_at"])
