"""Contexts: named servers, in a file that only the user can read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from app.core.private_files import write_file
from app.core.token_file import TokenFileExposed, read_private
from app.rpc.client.tls import Trust
from cli.errors import usage
from cli.home import config_file, ensure_home

_FILE_BYTES = 16 * 1024 * 1024
_STEP = "correct it, or remove it and log in again"


@dataclass(frozen=True, slots=True)
class ServerContext:
    """A server to call: its origins, the token, and the agent that runs prompts there."""

    urls: tuple[str, ...]
    token: str | None
    agent: str | None = None
    ca: str | None = None
    """CA in PEM to trust the server by, instead of the system's."""

    @property
    def trust(self) -> Trust:
        """How a client checks that it speaks to this server."""
        return Trust(self.ca or "")


def load() -> dict[str, Any]:
    """Return the file's content: the contexts by name, and the current one's name."""
    try:
        content = orjson.loads(read_private(config_file(), _FILE_BYTES))
    except (FileNotFoundError, NotADirectoryError):
        return {"current": None, "contexts": {}}
    except TokenFileExposed as error:
        raise usage(str(error), error.next_step) from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not JSON"
        raise usage(f"{config_file()} cannot be read: {why}", _STEP) from None
    if not _is_valid(content):
        raise usage(f"{config_file()} cannot be read: it is not a list of contexts", _STEP)
    valid: dict[str, Any] = content
    return valid


def _is_valid(content: Any) -> bool:
    if not isinstance(content, dict) or not isinstance(content.get("contexts"), dict):
        return False
    if not isinstance(content.get("current"), (str, type(None))):
        return False
    return all(
        isinstance(entry, dict)
        and isinstance(entry.get("urls"), list)
        and entry["urls"]
        and all(isinstance(url, str) for url in entry["urls"])
        and isinstance(entry.get("token"), (str, type(None)))
        and isinstance(entry.get("agent"), (str, type(None)))
        and isinstance(entry.get("ca"), (str, type(None)))
        for entry in content["contexts"].values()
    )


def save(content: dict[str, Any]) -> None:
    """Write the file, with mode 0600."""
    ensure_home()
    write_file(config_file(), orjson.dumps(content, option=orjson.OPT_INDENT_2))


def named(name: str | None) -> ServerContext | None:
    """Return the context of that name, or with None the current one; None when there is none."""
    content = load()
    chosen = content.get("current") if name is None else name
    if chosen is None:
        return None
    entry = content["contexts"].get(chosen)
    if entry is None:
        raise usage(f"there is no context {chosen!r}", "ado context list shows them; ado login URL makes one")
    return ServerContext(tuple(entry["urls"]), entry.get("token"), entry.get("agent"), entry.get("ca"))
