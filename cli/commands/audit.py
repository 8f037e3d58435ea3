"""``ado audit``: who did what."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from app.rpc.client import HttpClient
from cli import durations, exits
from cli.errors import usage
from cli.output import room, table, talk, write_json, write_lines
from cli.remote.connection import Options, choose, http, task_id
from cli.render.ages import ago

_NO_OPTIONS = Options()
_PAGE = 1000
_SHOWN = 100
_COLUMNS = ("at", "user", "tokenId", "address", "procedure", "target", "outcome", "reason", "count", "requestId")


def audit(
    *,
    user: str | None = None,
    task: str | None = None,
    since: str | None = None,
    limit: int | None = None,
    options: Options = _NO_OPTIONS,
) -> int:
    """List who changed what and which calls were refused, newest first; for administrators.

    With --since everything since then is listed, otherwise the newest 100.

    Parameters
    ----------
    user
        Only what this user did, or the token of this id.
    task
        Only what was done to this task.
    since
        How long ago the oldest may be: 30d, 12h, 10m.
    limit
        How many at most.
    """
    if limit is not None and limit < 1:
        raise usage("--limit must be 1 or more", "see ado audit --help")
    wish: dict[str, Any] = {"user": user, "since": None if since is None else durations.parse(since)}
    wish["taskId"] = None if task is None else task_id(task)
    most = limit if limit is not None or since is not None else _SHOWN
    entries = _entries(http(choose(options)), wish, most)
    if options.output == "json":
        write_json({"items": list(entries)})
    elif options.output in ("jsonl", "name"):
        for entry in entries:
            write_json(entry) if options.output == "jsonl" else write_lines([str(entry["auditId"])])
    else:
        write_lines(table(_rows(entries, whole=room(sys.stdout) is None)))
    return exits.SUCCESS


def _rows(entries: Iterator[dict[str, Any]], *, whole: bool) -> list[list[str]]:
    """Return the table: all that is known of each entry, or what fits a terminal."""
    if whole:
        titles = ["at", "user", "token", *_COLUMNS[3:-1], "request"]
        return [titles, *([_cell(entry, name) for name in _COLUMNS] for entry in entries)]
    return [["at", "who", "from", "procedure", "target", "outcome"], *map(_brief, entries)]


def _cell(entry: dict[str, Any], name: str) -> str:
    value = str(entry.get(name, "-"))
    return ago(value) if name == "at" else value


def _brief(entry: dict[str, Any]) -> list[str]:
    times = f", {entry['count']} times" if entry.get("count", 1) > 1 else ""
    outcome = f"{entry.get('reason') or entry['outcome']}{times}"
    where = [entry.get(name) or "-" for name in ("address", "procedure", "target")]
    return [ago(entry["at"]), entry.get("user") or entry.get("tokenId") or "-", *where, outcome]


def _entries(client: HttpClient, wish: dict[str, Any], most: int | None) -> Iterator[dict[str, Any]]:
    """Yield entries page by page, ``most`` at most (None: all)."""
    left = most
    cursor: str | None = None
    while True:
        page = client.query("audit.list", {**wish, "limit": min(left or _PAGE, _PAGE), "cursor": cursor})
        yield from page["items"]
        left = None if left is None else left - len(page["items"])
        cursor = page.get("nextCursor")
        if cursor is None:
            return
        if left is not None and left <= 0:
            talk("ado: there are older entries: ado audit --since 30d, or --limit N")
            return
