"""The parts of a support bundle. A part that cannot be collected raises PartMissing, and the bundle says why.

No part holds prompts, output, values of a task's environment or results: only ids, states, reasons, counts and sizes.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib import metadata
from typing import Any

import orjson

from app.rpc.client import CallError, HttpClient, NoAnswer
from cli.commands.doctor import checks_of
from cli.control_plane import embedded
from cli.errors import CliError
from cli.home import home
from cli.remote.connection import http
from cli.remote.contexts import ServerContext
from cli.remote.fleet import why_waiting
from cli.remote.listing import workers_status

_LOG_BYTES = 2 * 1024 * 1024
_TASKS = 20
_PLAIN = re.compile(r"[0-9.]{1,20}[a-zA-Z]{0,3}|true|false|yes|no|on|off|auto|none", re.IGNORECASE)
_TASK = ("taskId", "status", "reason", "agent", "workers", "createdAt", "startedAt", "finishedAt", "priority")
_WORKER = ("workerId", "state", "capabilities", "slots", "resources", "lastHeartbeatAt", "version", "problem")

Part = Callable[[], bytes]


class PartMissing(Exception):
    """A part cannot be collected; the text says why."""


def parts(server: ServerContext | None, dsn: str | None) -> dict[str, Part]:
    """Return a function for each file of the bundle, by the file's name."""
    return {
        "versions.json": lambda: _json(versions()),
        "settings.json": lambda: _json(settings(os.environ)),
        "control-plane.log": log,
        "doctor.json": lambda: _json([asdict(check) for check in checks_of(_required(server))]),
        "status.json": lambda: _json(_ask(server, status)),
        "pending.json": lambda: _json(_ask(server, pending)),
        "database.json": lambda: _json(database(dsn)),
    }


def _json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE, default=str)


def _required(server: ServerContext | None) -> ServerContext:
    if server is None:
        raise PartMissing("no server is configured and none runs here")
    return server


def _ask(server: ServerContext | None, ask: Callable[[HttpClient], Any]) -> Any:
    try:
        return ask(http(_required(server)))
    except (CallError, NoAnswer, CliError) as error:
        raise PartMissing(f"the server did not answer: {error}") from error


def versions() -> dict[str, Any]:
    """Return what runs here."""
    names = ("ado", "asyncpg", "cyclopts", "litestar", "msgspec", "psycopg", "uvicorn")
    installed: dict[str, str | None] = {}
    for name in names:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            installed[name] = None
    return {"python": sys.version, "platform": platform.platform(), "packages": installed}


def settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the settings. Only numbers and switches are shown; for every other value only that it is set."""
    return {
        name: value if _PLAIN.fullmatch(value) else "(set)"
        for name, value in sorted(environ.items())
        if name.startswith("ADO_")
    }


def log() -> bytes:
    """Return the end of the embedded control plane's log."""
    path = home() / embedded.LOG
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _LOG_BYTES))
            content = file.read(_LOG_BYTES)
    except OSError as error:
        raise PartMissing(
            f"there is no log of a control plane here ({error.strerror}); add the replicas' own"
        ) from error
    return content.partition(b"\n")[2] if size > _LOG_BYTES else content


def status(client: HttpClient) -> dict[str, Any]:
    """Return the states of workers and spawners, what waits, and what is wrong."""
    fleet = workers_status(client)
    return {
        "health": client.query("system.health"),
        "counts": fleet["counts"],
        "queue": fleet["queue"],
        "workers": [_only(worker, _WORKER) for worker in fleet["workers"]],
        "spawners": fleet.get("spawners", []),
    }


def pending(client: HttpClient) -> list[dict[str, Any]]:
    """Return tasks that wait, and why."""
    waiting = []
    for listed in client.query("tasks.list", {"status": "queued", "limit": _TASKS})["items"]:
        try:
            task = client.query("tasks.get", {"taskId": listed["taskId"], "explain": True})
        except CallError:
            continue  # removed meanwhile
        waiting.append({**_only(task, _TASK), "why": why_waiting(task)})
    return waiting


def _only(shape: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: shape[name] for name in names if name in shape}


def database(dsn: str | None) -> dict[str, Any]:
    """Return the schema's version, sizes, blockers and waiting jobs, read from the database itself."""
    from cli.direct_database import support_facts

    if not dsn:
        raise PartMissing("ADO_DSN is not set and no control plane runs here")
    try:
        return support_facts(dsn)
    except CliError as error:
        raise PartMissing(f"the database did not answer: {error}") from error
