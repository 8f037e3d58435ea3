"""``ado audit``: who did what."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from app.rpc.client import HttpClient
from cli.errors import nearest, usage
from cli.option_values import seconds_of
from cli.output import room, table, talk, write_json, write_lines
from cli.remote.connection import NO_OPTIONS, ServerOptions, choose, http, task_id
from cli.remote.listing import pages, whole
from cli.render.ages import ago

_PAGE = 1000
_SHOWN = 100
_COLUMNS = ("at", "user", "tokenId", "address", "procedure", "target", "outcome", "reason", "count", "requestId")


def audit(
    *,
    user: str | None = None,
    task: str | None = None,
    since: str | None = None,
    limit: int | None = None,
    options: ServerOptions = NO_OPTIONS,
) -> None:
    """List who changed what and which calls were refused, newest first; for administrators.

    With --since everything since then is listed, otherwise the newest 100.

    Parameters
    ----------
    user
        Only what this user, by name or id, or the token of this id did.
    task
        Only what was done to this task.
    since
        How long ago the oldest may be: 30d, 12h, 10m.
    limit
        How many at most.
    """
    if limit is not None and limit < 1:
        raise usage("--limit must be 1 or more", "see ado audit --help")
    query: dict[str, Any] = {"since": None if since is None else seconds_of(since)}
    query["taskId"] = None if task is None else task_id(task)
    limit_or_default = limit if limit is not None or since is not None else _SHOWN
    client = http(choose(options))
    names = _names(client) if user is not None or options.output == "text" else {}
    query["user"] = None if user is None else _account(user, names)
    entries = _entries(client, query, limit_or_default)
    if options.output == "json":
        write_json({"items": list(entries)})
    elif options.output in ("jsonl", "name"):
        for entry in entries:
            write_json(entry) if options.output == "jsonl" else write_lines([str(entry["auditId"])])
    else:
        write_lines(table(_rows(entries, names, everything=room(sys.stdout) is None)))


def _rows(entries: Iterator[dict[str, Any]], names: Mapping[str, str], *, everything: bool) -> list[list[str]]:
    """Return the table: all that is known of each entry, or what fits a terminal."""
    if everything:
        titles = ["at", "user", "token", *_COLUMNS[3:-1], "request"]
        return [titles, *([_cell(entry, name, names) for name in _COLUMNS] for entry in entries)]
    return [["at", "who", "from", "procedure", "target", "outcome"], *(_brief(entry, names) for entry in entries)]


def _names(client: HttpClient) -> dict[str, str]:
    """Return the names of the users by their ids."""
    return {user["userId"]: user["name"] for user in whole(client, "users.list")["items"]}


def _account(user: str, names: Mapping[str, str]) -> str:
    """Return the id of a user that is given by name or id, or of a token. Raises CliError."""
    if user in names or user.startswith("tok-"):
        return user
    user_id = next((user_id for user_id, name in names.items() if name == user), None)
    if user_id is None:
        raise usage(f"there is no user {user!r}{nearest(user, list(names.values()))}", "ado users list shows the users")
    return user_id


def _cell(entry: dict[str, Any], name: str, names: Mapping[str, str]) -> str:
    value = str(entry.get(name, "-"))
    return ago(value) if name == "at" else names.get(value, value) if name == "user" else value


def _brief(entry: dict[str, Any], names: Mapping[str, str]) -> list[str]:
    times = f", {entry['count']} times" if entry.get("count", 1) > 1 else ""
    outcome = f"{entry.get('reason') or entry['outcome']}{times}"
    where = [entry.get(name) or "-" for name in ("address", "procedure", "target")]
    who = _cell(entry, "user", names) if "user" in entry else entry.get("tokenId", "-")
    return [ago(entry["at"]), who, *where, outcome]


def _entries(client: HttpClient, query: dict[str, Any], limit: int | None) -> Iterator[dict[str, Any]]:
    """Yield entries page by page, at most ``limit`` of them; None means all."""
    page: dict[str, Any] = {}
    for page in pages(client, query, limit, path="audit.list", most=_PAGE):
        yield from page["items"]
    if page.get("nextCursor"):
        talk("ado: there are older entries: ado audit --since 30d, or --limit N")
