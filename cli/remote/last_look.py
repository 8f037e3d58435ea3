"""Which of a person's tasks have ended since ``ado inbox`` last showed them.

The file ``seen.json`` in ado's home has, for each server, the end of the newest task that was shown. That time is the
server's, so the clock of this machine does not matter. A file that is missing or unreadable counts as empty: then the
tasks of the last day are new.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from app.core.private_files import write_file
from app.core.token_file import TokenFileExposed, read_private
from app.rpc.client import HttpClient
from cli.errors import CliError
from cli.home import ensure_home, home
from cli.remote.listing import ENDED, PAGE

_FIRST_LOOK = timedelta(days=1)
_FILE_BYTES = 1024 * 1024


def newly_ended(client: HttpClient, urls: Sequence[str]) -> list[dict[str, Any]]:
    """Return those of the caller's newest hundred ended tasks that ended after the last look, by their ends."""
    page = client.query("tasks.list", {"mine": True, "status": list(ENDED), "limit": PAGE})
    ended = [task for task in page["items"] if task.get("finishedAt")]
    ended.sort(key=_end)
    since = _seen().get(_key(urls))
    last = datetime.now(UTC) - _FIRST_LOOK if since is None else datetime.fromisoformat(since)
    return [task for task in ended if _end(task) > last]


def remember(urls: Sequence[str], shown: Sequence[dict[str, Any]]) -> None:
    """Note that these tasks, in the order of their ends, were shown. A home that cannot be written is no error."""
    if shown:
        with contextlib.suppress(OSError, CliError):
            ensure_home()
            write_file(_file(), orjson.dumps({**_seen(), _key(urls): shown[-1]["finishedAt"]}))


def _seen() -> dict[str, str]:
    try:
        content = orjson.loads(read_private(_file(), _FILE_BYTES))
        return {url: str(datetime.fromisoformat(end).astimezone(UTC)) for url, end in content.items()}
    except (OSError, CliError, TokenFileExposed, ValueError, TypeError, AttributeError):
        return {}


def _file() -> Path:
    return home() / "seen.json"


def _key(urls: Sequence[str]) -> str:
    return ",".join(sorted(urls))


def _end(task: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(task["finishedAt"])
