"""The procedures ``users.*``: users, their roles and limits. All but ``whoami`` are for administrators."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from msgspec import Meta

from app.access.auth import ADMINISTER, READ
from app.access.context import Context
from app.client import administration
from app.core.reasons import refusal
from app.procedures.checks import paging
from app.procedures.checks.arguments import refuse_nul
from app.procedures.checks.ids import PublicId
from app.procedures.checks.paging import Page, PageInput
from app.rpc.server.procedure import mutation, query
from app.shapes.records import RecordShape, Wire
from db import users
from db.users import UserLimits

_ID = PublicId("user", "user")
UserName = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^\w[\w.@+-]*\Z")]
UserRole = Literal["viewer", "developer", "operator", "admin"]
Jobs = Annotated[int, Meta(ge=0, le=1_000_000)]
Dollars = Annotated[float, Meta(ge=0, le=1e9)]
Text = Annotated[str, Meta(min_length=1, max_length=320)]


class Limits(Wire):
    """The most running jobs, the most queued jobs, and the most US dollars within 24 hours."""

    running: Jobs | None = None
    queued: Jobs | None = None
    cost_per_day: Dollars | None = None


class UserAddInput(Limits, kw_only=True):
    """A new user."""

    name: UserName
    role: UserRole = "developer"
    email: Text | None = None
    external_id: Text | None = None


class UserSetInput(Limits, kw_only=True):
    """What to change of a user. Members named in ``clear`` are removed; ``disabled: false`` enables the user again."""

    name: str
    role: UserRole | None = None
    email: Text | None = None
    external_id: Text | None = None
    disabled: bool | None = None
    clear: list[Literal["running", "queued", "costPerDay", "email", "externalId"]] = []


class RoleInput(Limits, kw_only=True):
    """What to change of a role's limits. A user's own limits come first."""

    role: UserRole
    clear: list[Literal["running", "queued", "costPerDay"]] = []


class NameInput(Wire):
    """A user by name or id."""

    name: str


class User(administration.User, RecordShape, frozen=True, kw_only=True):
    """A person who may call."""

    created_at: datetime
    external_id: str | None = None

    @classmethod
    def of(cls, user: users.UserRow) -> User:
        """Make the shape."""
        return cls.from_record(
            user, user_id=f"user-{user.user_id}", disabled=user.disabled_at is not None, **_limit_members(user.limits)
        )


class RoleLimits(administration.RoleLimits, RecordShape, frozen=True, kw_only=True):
    """The limits of all users of a role who have none of their own."""

    @classmethod
    def of(cls, role: str, limits: UserLimits) -> RoleLimits:
        """Make the shape."""
        return cls(role=role, **_limit_members(limits))


class UserList(Page[User], kw_only=True):
    """A page of users, oldest first, and the limits of all roles."""

    roles: list[RoleLimits]


class Me(administration.Me, RecordShape, frozen=True, kw_only=True):
    """The caller: a user, or a service by the name of its token."""

    expires_at: datetime | None = None


def _limit_members(limits: UserLimits) -> dict[str, Any]:
    """Return limits as the members of a shape."""
    cost = None if limits.cost_per_day is None else float(limits.cost_per_day)
    return {"running": limits.running, "queued": limits.queued, "cost_per_day": cost}


def _limits(input: Limits) -> UserLimits:
    cost = None if input.cost_per_day is None else Decimal(str(input.cost_per_day))
    return UserLimits(input.running, input.queued, cost)


async def find_user(context: Context, name: str) -> users.UserRow:
    """Return a user by name or id. Raises NOT_FOUND."""
    refuse_nul(name=name)
    user = await users.find(context.db, name)
    if user is None:
        raise refusal("no_such_user", f"there is no user {name[:100]!r}")
    return user


@query(access=ADMINISTER)
async def listing(context: Context, input: PageInput) -> UserList:
    """Return users, oldest first."""
    after = _ID.parse_cursor(input.cursor)
    page, more = await users.listing(context.db, after, paging.page_limit(context, input.limit))
    roles = await users.role_limits(context.db)
    return UserList(
        items=[User.of(user) for user in page],
        roles=[RoleLimits.of(role, limits) for role, limits in roles.items()],
        next_cursor=paging.next_cursor(more, f"user-{page[-1].user_id}" if page else ""),
    )


@mutation(access=ADMINISTER)
async def add(context: Context, input: UserAddInput) -> User:
    """Add a user."""
    refuse_nul(email=input.email, externalId=input.external_id)
    if input.name.startswith(("user-", "tok-")):
        raise refusal("invalid_input", "name: it reads like the id of a user or token", field="name")
    user = await users.add(
        context.db,
        input.name,
        input.role,
        email=input.email,
        external_id=input.external_id,
        limits=_limits(input),
        actor=context.actor("users.add"),
    )
    if user is None:
        raise refusal("user_exists", f"there is a user {input.name!r}, or one with this externalId")
    return User.of(user)


@mutation(access=ADMINISTER)
async def change(context: Context, input: UserSetInput) -> User:
    """Change a user's role, address, limits, or whether it is disabled."""
    refuse_nul(email=input.email, externalId=input.external_id)
    user = await find_user(context, input.name)
    changed = await users.change(
        context.db,
        user.user_id,
        role=input.role,
        email=input.email,
        external_id=input.external_id,
        limits=_limits(input),
        cleared=input.clear,
        disabled=input.disabled,
        actor=context.actor("users.set"),
    )
    if changed is None:
        raise refusal("user_exists", "there is another user with this externalId")
    return User.of(changed)


@mutation(access=ADMINISTER)
async def disable(context: Context, input: NameInput) -> User:
    """End a user's tokens. Their open sockets and streams end within ten seconds; the user's tasks go on."""
    user = await find_user(context, input.name)
    disabled = await users.change(context.db, user.user_id, disabled=True, actor=context.actor("users.disable"))
    return User.of(disabled or user)


@mutation(access=ADMINISTER)
async def limit_role(context: Context, input: RoleInput) -> RoleLimits:
    """Change the limits of all users of a role who have none of their own."""
    limits = await users.set_role_limits(
        context.db, input.role, _limits(input), input.clear, context.actor("users.limitRole")
    )
    return RoleLimits.of(input.role, limits)


@query(access=READ)
async def whoami(context: Context) -> Me:
    """Return who calls."""
    caller = context.caller
    names = {"name": caller.account_name, "user_id": caller.user_public_id, "token_name": caller.name}
    return Me.from_record(caller, **names)
