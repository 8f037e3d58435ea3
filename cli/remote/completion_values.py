"""Values for completion: those that the server has, and those that are known here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from app.rpc.client import CallError, HttpClient, NoAnswer
from cli import agents
from cli.errors import CliError
from cli.remote import contexts
from cli.remote.connection import ServerOptions, choose, http
from cli.remote.listing import PAGE, STATUSES

_SECONDS = 1.0
"""How long to wait for the server: nobody waits long for a completion."""
_SERVER = ("url", "token", "token_file", "ca", "context")
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@+/-]*")
"""An id or a name; a label may contain any character."""
_LOCAL: dict[str, Callable[[], list[str]]] = {
    "context": lambda: list(contexts.load()["contexts"]),
    "status": lambda: list(STATUSES),
}


def values(kind: str, typed: Mapping[str, str]) -> list[str]:
    """Return the values of a kind, none if they cannot be read. ``typed`` holds the options so far."""
    try:
        if kind in _LOCAL:
            return _LOCAL[kind]()
        url, token, token_file, ca, context = (typed.get(name) for name in _SERVER)
        server = choose(ServerOptions(url=url, token=token, token_file=token_file, ca=ca, context=context))
        values_of_kind = _FROM_SERVER[kind](http(server, timeout=_SECONDS))
        return values_of_kind if kind == "label" else [name for name in values_of_kind if _PLAIN.fullmatch(name)]
    except (CliError, CallError, NoAnswer):
        return sorted({*agents.KNOWN, *agents.PROGRAMS}) if kind == "agent" else []


def _tasks(client: HttpClient) -> list[dict[str, Any]]:
    tasks: list[dict[str, Any]] = client.query("tasks.list", {"limit": PAGE})["items"]
    return tasks


def _labels(client: HttpClient) -> list[str]:
    pairs = {f"{name}={value}" for task in _tasks(client) for name, value in task["labels"].items()}
    return sorted(pairs)


def _agents(client: HttpClient) -> list[str]:
    workers = client.query("workers.list", {})["items"]
    offered = {name for worker in workers for name in agents.versions(worker)}
    return sorted({*agents.KNOWN, *agents.PROGRAMS, *offered})


_FROM_SERVER: dict[str, Callable[[HttpClient], list[str]]] = {
    "agent": _agents,
    "label": _labels,
    "task": lambda client: [task["taskId"] for task in _tasks(client)],
    "user": lambda client: [user["name"] for user in client.query("users.list", {})["items"]],
    "worker": lambda client: [worker["workerId"] for worker in client.query("workers.list", {})["items"]],
}
