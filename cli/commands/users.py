"""``ado users``: who may call, with which role and limits; and ``ado whoami``."""

from __future__ import annotations

from typing import Any, Literal, get_args

from app.rpc.client import HttpClient
from cli.declarations import App
from cli.errors import usage
from cli.option_values import amount_of
from cli.output import talk, write_items, write_one
from cli.parameters import UserRole
from cli.remote.connection import NO_OPTIONS, ServerOptions, choose, http
from cli.remote.listing import open_tasks, whole

_LIMITS = ("running", "queued", "costPerDay")
_ROLES = get_args(UserRole)
"""From the one with the fewest rights on."""
users = App(name="users", help="List, add, change and disable users.")


@users.default
@users.command(name="list")
def list_(*, options: ServerOptions = NO_OPTIONS) -> None:
    """List the users, and the limits of their roles."""
    page = whole(http(choose(options)), "users.list")
    rows = [["user", "name", "role", "email", "running", "queued", "cost per day", "state"]]
    rows += [
        [
            u["userId"],
            u["name"],
            u["role"],
            u.get("email") or "-",
            *_limits(u),
            "disabled" if u["disabled"] else "active",
        ]
        for u in page["items"]
    ]
    rows += [["-", f"every {r['role']}", r["role"], "-", *_limits(r), "-"] for r in page["roles"]]
    write_items(page, options.output, "userId", rows)


def _limits(limited: dict[str, Any]) -> list[str]:
    return [f"{limit:g}" if (limit := limited.get(name)) is not None else "-" for name in _LIMITS]


@users.command
def add(
    name: str,
    /,
    *,
    role: UserRole = "developer",
    email: str | None = None,
    external_id: str | None = None,
    running: int | None = None,
    queued: int | None = None,
    cost_per_day: float | None = None,
    options: ServerOptions = NO_OPTIONS,
) -> None:
    """Add a user; ado token create --user NAME makes its tokens.

    Parameters
    ----------
    name
        The name that is shown; it never changes.
    role
        viewer, developer, operator or admin.
    email
        Address of the user.
    external_id
        The user's id at an identity provider.
    running
        Most jobs that run at once; further ones wait.
    queued
        Most jobs that wait at once; further ones are refused.
    cost_per_day
        US dollars within 24 hours after which no further job starts.
    """
    members: dict[str, Any] = {"name": name, "role": role, "email": email, "externalId": external_id}
    members |= {"running": running, "queued": queued, "costPerDay": amount_of(cost_per_day, "--cost-per-day")}
    user = http(choose(options)).mutate("users.add", members)
    write_one(user, options.output, "userId", note=f"{user['userId']} {name} is added as {role}")


@users.command(name="set")
def set_(
    name: str | None = None,
    /,
    *,
    role: UserRole | None = None,
    email: str | None = None,
    external_id: str | None = None,
    running: int | Literal["none"] | None = None,
    queued: int | Literal["none"] | None = None,
    cost_per_day: float | Literal["none"] | None = None,
    enable: bool = False,
    options: ServerOptions = NO_OPTIONS,
) -> None:
    """Change a user; without a name, the limits of every user of --role who has none of their own.

    Parameters
    ----------
    name
        The user's name or id.
    role
        viewer, developer, operator or admin.
    email
        Address of the user; none removes it.
    external_id
        The user's id at an identity provider; none removes it.
    running
        Most jobs that run at once, or none for no limit.
    queued
        Most jobs that wait at once, or none for no limit.
    cost_per_day
        US dollars within 24 hours after which no further job starts, or none for no limit.
    enable
        Let a disabled user call again; it needs new tokens.
    """
    cost = amount_of(cost_per_day, "--cost-per-day") if isinstance(cost_per_day, float) else cost_per_day
    changes: dict[str, Any] = {"running": running, "queued": queued, "costPerDay": cost}
    if name is None:
        if role is None or email is not None or external_id is not None or enable:
            raise usage("no user is named", "ado users set NAME …, or --role ROLE with limits alone")
        _set_role(role, changes, options)
        return
    changes |= {"email": email, "externalId": external_id}
    members = {"name": name, "role": role, "disabled": False if enable else None, **_changes(changes)}
    client = http(choose(options))
    changed = client.mutate("users.set", members)
    write_one(changed, options.output, "userId", note=f"{changed['userId']} {changed['name']} is changed")
    if role is not None:
        _say_what_tokens_may(client, changed)


def _say_what_tokens_may(client: HttpClient, user: dict[str, Any]) -> None:
    """Name the tokens of a user that may do less than the user's new role: a token's role never rises."""
    lesser = _ROLES[: _ROLES.index(user["role"])]
    tokens = whole(client, "tokens.list")["items"]
    valid = [token for token in tokens if token.get("user") == user["name"] and not token.get("revokedAt")]
    unchanged = [f"{token['tokenId']} ({token['role']})" for token in valid if token["role"] in lesser]
    if unchanged:
        talk(f"ado: tokens that were made before keep their role: {', '.join(unchanged)}")
        talk(f"ado: make one that may more: ado token create --user {user['name']}")


def _changes(changes: dict[str, Any]) -> dict[str, Any]:
    """Return what to set, and under ``clear`` what to remove."""
    cleared = [name for name, value in changes.items() if value == "none"]
    return {name: value for name, value in changes.items() if name not in cleared} | {"clear": cleared}


def _set_role(role: str, changes: dict[str, Any], options: ServerOptions) -> None:
    limits = http(choose(options)).mutate("users.limitRole", {"role": role, **_changes(changes)})
    write_one(limits, options.output, "role", note=f"the limits of every {role} are changed")


@users.command
def disable(name: str, /, *, options: ServerOptions = NO_OPTIONS) -> None:
    """End a user's tokens; what they have open ends within ten seconds, and the user's tasks go on.

    Parameters
    ----------
    name
        The user's name or id.
    """
    client = http(choose(options))
    changed = client.mutate("users.disable", {"name": name})
    write_one(changed, options.output, "userId", note=f"{changed['userId']} {changed['name']} is disabled")
    if left := open_tasks(client, [], created_by=changed["name"]):
        these = "1 task goes on" if len(left) == 1 else f"{len(left)} tasks go on"
        talk(f"ado: {these}; to stop what {changed['name']} has begun: ado cancel --created-by {changed['name']}")


def whoami(*, options: ServerOptions = NO_OPTIONS) -> None:
    """Say as whom you call."""
    me = http(choose(options)).query("users.whoami")
    who = f"{me['name']} ({me['userId']})" if me.get("userId") else f"{me['name']} (a service)"
    name = f" {me['tokenName']}" if me.get("tokenName") else ""
    write_one(me, options.output, "name", [f"{who}  role {me['role']}  token {me['tokenId']}{name}"])
