"""The procedures ``tokens.*``, for administrators."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from app.access.auth import ADMINISTER, RANKS
from app.access.context import Context
from app.core.reasons import refusal
from app.procedures.checks import paging
from app.procedures.checks.arguments import refuse_nul
from app.procedures.checks.paging import Page, PageInput
from app.procedures.users import find_user
from app.rpc.server.procedure import mutation, query
from app.shapes.records import Wire
from db import tokens
from db.users import UserRow


class TokenCreateInput(Wire):
    """Who gets the token, and for how long."""

    role: Literal["viewer", "developer", "operator", "admin", "worker"] | None = None
    """Absent: the user's role."""
    user: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    """The user by name or id; absent: the token belongs to a service."""
    name: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    """What the token is for, or the name of the service."""
    worker_id: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    capabilities: Annotated[list[Annotated[str, Meta(max_length=200)]], Meta(max_length=200)] | None = None
    expires_seconds: Annotated[float, Meta(gt=0, le=3.2e9)] | None = None


class TokenInput(Wire):
    """A token by its public id."""

    token_id: str


class Created(Wire, omit_defaults=False):
    """The new token, which is never shown again."""

    token_id: str
    token: str
    role: str
    expires_at: datetime | None


class Token(Wire, omit_defaults=False):
    """A token without its secret."""

    token_id: str
    role: str
    created_at: datetime
    name: str | UnsetType = UNSET
    user: str | UnsetType = UNSET
    created_by: str | UnsetType = UNSET
    opened_with: str | UnsetType = UNSET
    """The token that opened this session of the dashboard."""
    last_used_at: datetime | UnsetType = UNSET
    worker_id: str | UnsetType = UNSET
    capabilities: list[str] | UnsetType = UNSET
    expires_at: datetime | UnsetType = UNSET
    revoked_at: datetime | UnsetType = UNSET


class TokenList(Page[Token]):
    """A page of tokens, oldest first."""


class Revoked(Wire, omit_defaults=False):
    """The token is no longer valid."""

    token_id: str
    revoked_at: datetime


@mutation(access=ADMINISTER)
async def create(context: Context, input: TokenCreateInput) -> Created:
    """Make a token. A user's token may do no more than the user."""
    refuse_nul(name=input.name, workerId=input.worker_id, capabilities=input.capabilities)
    user = await find_user(context, input.user) if input.user is not None else None
    role = _role(input, user)
    if (role == "worker") != (input.worker_id is not None):
        raise refusal("invalid_input", "workerId: a worker token names its worker, others none", field="workerId")
    if input.capabilities and role != "worker":
        raise refusal("invalid_input", "capabilities: they bound a worker's token, no other's", field="capabilities")
    token = tokens.new(
        role,
        worker_id=input.worker_id,
        capabilities=input.capabilities,
        expires_seconds=input.expires_seconds,
        user_id=user.user_id if user else None,
        name=input.name,
    )
    row = await tokens.create(context.db, token, context.actor("tokens.create"))
    return Created(token_id=row["token_id"], token=token.token, role=row["role"], expires_at=row["expires_at"])


def _role(input: TokenCreateInput, user: UserRow | None) -> str:
    """Return the role of a new token. Raises BAD_REQUEST, CONFLICT for a disabled user."""
    if user is None:
        if input.role is None:
            raise refusal("invalid_input", "role: it is missing", field="role")
        return input.role
    if user.disabled_at is not None:
        step = f"enable the user first: ado users set {user.name} --enable"
        raise refusal("user_disabled", f"the user {user.name} is disabled", hint=step)
    role = input.role or user.role
    if role not in RANKS or RANKS.index(role) > RANKS.index(user.role):
        raise refusal("invalid_input", f"role: {user.name} is {user.role}, its tokens may do no more", field="role")
    return role


@query(access=ADMINISTER)
async def listing(context: Context, input: PageInput) -> TokenList:
    """Return tokens without their secrets, oldest first."""
    after = None if input.cursor is None else _parse_cursor(input.cursor)
    rows, more = await tokens.listing(context.db, after, paging.page_limit(context, input.limit))
    items = [{key: value for key, value in row.items() if value is not None} for row in rows]
    last = (paging.microseconds(rows[-1]["created_at"]), rows[-1]["token_id"]) if rows else ()
    return TokenList(items=[Token(**item) for item in items], next_cursor=paging.next_cursor(more, *last))


def _parse_cursor(text: str) -> tuple[datetime, str]:
    at, _, token_id = text.partition("/")
    refuse_nul(cursor=text)
    return paging.parse_microseconds(at), token_id


@mutation(access=ADMINISTER)
async def revoke(context: Context, input: TokenInput) -> Revoked:
    """Revoke a token. Its open sockets and streams end within ten seconds."""
    row = await tokens.revoke(context.db, input.token_id, context.actor("tokens.revoke"))
    if row is None:
        raise refusal("no_such_token", f"there is no token {input.token_id[:100]!r}")
    return Revoked(token_id=row["token_id"], revoked_at=row["revoked_at"])
