"""Contexts: named servers in a file only the user can read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import orjson

from cli.errors import usage
from cli.home import config_file, ensure_home


@dataclass(frozen=True, slots=True)
class Server:
    """Where to call, and as whom."""

    urls: tuple[str, ...]
    token: str | None
    agent: str | None = None


def load() -> dict[str, Any]:
    """Return the file's content: the contexts by name, and the current one's name."""
    try:
        found: dict[str, Any] = orjson.loads(config_file().read_bytes())
    except FileNotFoundError:
        return {"current": None, "contexts": {}}
    except ValueError:
        raise usage(f"{config_file()} cannot be read", "correct it, or remove it and log in again") from None
    return found


def save(content: dict[str, Any]) -> None:
    """Write the file, 0600."""
    ensure_home()
    staging = config_file().with_suffix(f".{os.getpid()}")
    with os.fdopen(os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(orjson.dumps(content, option=orjson.OPT_INDENT_2))
    staging.replace(config_file())


def named(name: str | None) -> Server | None:
    """Return the context of that name, or with None the current one; None when there is none."""
    content = load()
    chosen = name or content.get("current")
    if chosen is None:
        return None
    entry = content["contexts"].get(chosen)
    if entry is None:
        raise usage(f"there is no context {chosen!r}", "ado context list shows them; ado login URL makes one")
    return Server(tuple(entry["urls"]), entry["token"], entry.get("agent"))
