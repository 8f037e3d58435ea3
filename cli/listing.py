"""Lists of tasks, page by page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from app.rpc.client import HttpClient

PAGE = 100
"""The most that a server gives at once."""


def pages(client: HttpClient, wish: Mapping[str, Any], limit: int | None = None) -> Iterator[dict[str, Any]]:
    """Yield pages of tasks until so many are there, or until the last one. Raises CallError, Unreachable."""
    left, cursor = limit, wish.get("cursor")
    while left is None or left > 0:
        size = PAGE if left is None else min(left, PAGE)
        page: dict[str, Any] = client.query("tasks.list", {**wish, "limit": size, "cursor": cursor})
        yield page
        cursor = page.get("nextCursor")
        if cursor is None:
            return
        left = left if left is None else left - len(page["items"])


def open_tasks(client: HttpClient, labels: Mapping[str, str]) -> list[str]:
    """Return the ids of the tasks with these labels that have not ended, newest first."""
    found: list[str] = []
    for status in ("running", "queued"):
        for page in pages(client, {"labels": labels, "status": status}):
            found += [task["taskId"] for task in page["items"]]
    return list(dict.fromkeys(found))  # one that was claimed meanwhile is in both
