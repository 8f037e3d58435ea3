"""Lists of tasks, page by page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from app.rpc.client.errors import NO_SUCH_PROCEDURE, CallError
from cli.errors import CliError, nearest, usage
from cli.option_values import seconds_of

if TYPE_CHECKING:
    from app.rpc.client import Client, HttpClient

PAGE = 100
"""The largest page of a server."""
OPEN = ("queued", "running", "paused")
ENDED = ("succeeded", "failed", "cancelled")
STATUSES = (*OPEN, *ENDED)


def task_filter(
    *, statuses: Sequence[str] = (), labels: Sequence[str] = (), since: str | None = None, search: str | None = None
) -> dict[str, Any]:
    """Return the input of tasks.list for the options of a command line. Raises CliError."""
    chosen = [_status(name) for entry in statuses for name in entry.split(",") if name]
    valued = [entry for entry in labels if "=" in entry]
    if "" in labels or any(entry.startswith("=") for entry in valued):
        raise usage("--label needs a name", "example: --label team, or --label team=web")
    if search == "":
        raise usage("--search needs a text", "example: --search 'flaky test'")
    return {
        "status": chosen[0] if len(chosen) == 1 else chosen or None,
        "labels": dict(entry.partition("=")[::2] for entry in valued),
        "labelNames": [entry for entry in labels if "=" not in entry],
        "since": None if since is None else _since(since),
        "search": search,
    }


def _status(name: str) -> str:
    if name not in STATUSES:
        raise usage(f"there is no status {name!r}{nearest(name, list(STATUSES))}", f"one of {', '.join(STATUSES)}")
    return name


def _since(text: str) -> float | str:
    """Return the seconds of a duration, or a time with its zone; by default this machine's. Raises CliError."""
    try:
        return datetime.fromisoformat(text).astimezone().isoformat()
    except (ValueError, OverflowError):
        pass
    try:
        return seconds_of(text)
    except CliError:
        raise usage(
            f"--since {text!r} is neither a duration nor a time", "write 2d, 12h, 10m or 2030-12-31T10:00+01:00"
        ) from None


def pages(
    client: HttpClient,
    query: Mapping[str, Any],
    limit: int | None = None,
    *,
    path: str = "tasks.list",
    most: int = PAGE,
) -> Iterator[dict[str, Any]]:
    """Yield pages of a list, with at most ``limit`` items in all and ``most`` on a page. Raises CallError, NoAnswer."""
    left, cursor = limit, query.get("cursor")
    while left is None or left > 0:
        size = most if left is None else min(left, most)
        page: dict[str, Any] = client.query(path, {**query, "limit": size, "cursor": cursor})
        yield page
        cursor = page.get("nextCursor")
        if cursor is None:
            return
        left = left if left is None else left - len(page["items"])


def whole(
    client: HttpClient, path: str, query: Mapping[str, Any] | None = None, *, items: str = "items"
) -> dict[str, Any]:
    """Return one page with the items of all pages. Raises CallError, NoAnswer."""
    listed: dict[str, Any] = client.query(path, {**(query or {})})
    while (cursor := listed.pop("nextCursor", None)) is not None:
        page = client.query(path, {**(query or {}), "cursor": cursor})
        listed = {**page, items: listed[items] + page[items]}
    return listed


def workers_status(client: HttpClient) -> dict[str, Any]:
    """Return all workers, the spawners and the queue. Raises CallError, NoAnswer."""
    return whole(client, "workers.status", items="workers")


async def workers_status_on(client: Client) -> dict[str, Any]:
    """Return the same over a socket."""
    status: dict[str, Any] = await client.query("workers.status")
    while (cursor := status.pop("nextCursor", None)) is not None:
        page = await client.query("workers.status", {"cursor": cursor})
        status = {**page, "workers": status["workers"] + page["workers"]}
    return status


def open_tasks(client: HttpClient, labels: Sequence[str], *, created_by: str | None = None) -> list[str]:
    """Return the ids of the tasks with these labels, of this creator, that have not ended, newest first.

    Raises CliError.
    """
    query = task_filter(statuses=["queued,running,paused"], labels=labels) | {"createdBy": created_by}
    return [task["taskId"] for page in pages(client, query) for task in page["items"]]


def open_questions(client: HttpClient, task: str) -> list[dict[str, Any]]:
    """Return what the jobs of a task ask now, the oldest first; a server of an older release knows of nothing."""
    try:
        return list(client.query("questions.list", {"taskId": task})["items"])
    except CallError as error:
        if error.reason == NO_SUCH_PROCEDURE:
            return []
        raise
