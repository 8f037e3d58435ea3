"""Which server a command speaks to: flags, then ADO_URL and ADO_TOKEN, then the context, then the embedded one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from app.rpc.client import HttpClient
from cli import contexts, plane
from cli.contexts import Server
from cli.errors import usage
from cli.output import Output, talk


@Parameter(name="*")
@dataclass(frozen=True)
class Options:
    """What every command that speaks to a server takes."""

    url: str | None = None
    "Origins of the server, divided by commas."
    token: str | None = None
    "The caller's token."
    context: str | None = None
    "A server from the contexts file."
    output: Annotated[Output, Parameter(name=["--output", "-o"])] = "text"
    "text, json, jsonl or name."

    @property
    def as_json(self) -> bool:
        """Whether data and errors are JSON."""
        return self.output in ("json", "jsonl")


def choose(options: Options, *, start: bool = False) -> Server:
    """Return the server to call; with ``start`` an embedded one is started when none is configured."""
    url = options.url or os.environ.get("ADO_URL")
    token = options.token or os.environ.get("ADO_TOKEN")
    if url and not options.context:
        return Server(tuple(part.strip() for part in url.split(",") if part.strip()), token or _plane_token(url))
    if found := contexts.named(options.context):
        return found
    running = plane.ensure(talk) if start else plane.find()
    if running is None:
        raise usage("no server is configured and none runs here", "ado up --detach, ado login URL, or set ADO_URL")
    return Server(running.urls, running.token)


def _plane_token(url: str) -> str | None:
    """Return the embedded control plane's token when the address is one of its replicas."""
    running = plane.find()
    return running.token if running and set(url.split(",")) <= set(running.urls) else None


def http(server: Server, timeout: float = 10.0) -> HttpClient:
    """Return a client for single calls."""
    return HttpClient(server.urls, server.token, timeout=timeout)


def task_id(text: str) -> str:
    """Return a task's id; ``123`` is short for ``task-123``."""
    return f"task-{text}" if text.isdigit() else text
