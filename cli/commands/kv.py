"""``ado kv``: the store that the jobs of one task share. Inside a job it needs no options.

A write has an idempotency key: it is sent until it is answered, and happens once. Inside a job it is sent for ever,
because the job outlives an outage of the server; elsewhere for ten seconds.
"""

from __future__ import annotations

import os
import random
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import orjson

from app.rpc.client import HttpClient
from cli import exits
from cli.declarations import App, Parameter
from cli.errors import CliError, usage
from cli.option_values import seconds_of
from cli.output import write_items, write_one, write_text
from cli.parameters import Output
from cli.remote.connection import NO_OPTIONS, ServerOptions, choose, http, task_id
from cli.remote.retry import until_answered

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
kv = App(name="kv", help="Share values between the jobs of a task.")

Key = Annotated[str, Parameter(help="Its name.")]
NewValue = Annotated[str, Parameter(allow_leading_hyphen=True, help="A text; - reads it from stdin.")]
Json = Annotated[bool, Parameter(name="--json", negative="", help="The value is JSON.")]
TaskOption = Annotated[str | None, Parameter(help="The task's id; inside a job its own.")]


@dataclass(frozen=True)
class TaskStore:
    """The store of one task, at a server."""

    client: HttpClient
    task: str
    inside: bool

    @classmethod
    def of(cls, task: str | None, options: ServerOptions) -> TaskStore:
        """Return the store of the named task, or of the task whose job this is."""
        own = os.environ.get("ADO_TASK_ID", "")
        if not (task or own):
            raise usage("no task is named", "add --task TASK; inside a job it is the job's own")
        name = task_id(task or own)
        return cls(http(choose(options)), name, "ADO_JOB_ID" in os.environ and name == own)

    def query(self, procedure: str, **members: Any) -> Any:
        """Read."""
        return self._call(lambda: self.client.query(procedure, {"taskId": self.task, **members}))

    def write(self, procedure: str, **members: Any) -> Any:
        """Write once, even if the call is sent several times."""
        members |= {"taskId": self.task, "idempotencyKey": str(uuid.uuid4())}
        return self._call(lambda: self.client.mutate(procedure, members))

    def _call(self, call: Callable[[], Any]) -> Any:
        return until_answered(call, for_ever=self.inside)


def _value(text: str, *, json: bool) -> Any:
    try:
        data = sys.stdin.buffer.read().decode() if text == "-" else text
    except ValueError as error:
        raise usage(f"the value cannot be read: {error}", "give it as UTF-8 text") from error
    if not json:
        return data
    try:
        return orjson.loads(data)
    except ValueError as error:
        raise usage(f"the value is no JSON: {error}", "leave out --json to store the text as it is") from None


def _print(entry: dict[str, Any], output: Output) -> None:
    if output == "text" and isinstance(entry["value"], str):
        write_text(entry["value"])
    else:
        write_one(entry, output, "key", [orjson.dumps(entry["value"]).decode()])


@kv.command
def get(key: Key, /, *, task: TaskOption = None, options: ServerOptions = NO_OPTIONS) -> None:
    """Print a value: a text as it is, anything else as JSON."""
    entry = TaskStore.of(task, options).query("tasks.kvGet", key=key)
    if entry is None:
        raise CliError(f"there is no value {key!r}", "ado kv wait waits for one", exits.FAILED, "no_such_key")
    _print(entry, options.output)


@kv.command(name="list")
def list_(prefix: str = "", /, *, task: TaskOption = None, options: ServerOptions = NO_OPTIONS) -> None:
    """List the values.

    Parameters
    ----------
    prefix
        Only those whose name begins with it.
    """
    page = TaskStore.of(task, options).query("tasks.kvList", prefix=prefix)
    rows = [["key", "version", "value"]]
    rows += [[item["key"], str(item["version"]), orjson.dumps(item["value"]).decode()] for item in page["items"]]
    write_items(page, options.output, "key", rows)


@kv.command(name="set")
def set_(
    key: Key, value: NewValue, /, *, json: Json = False, task: TaskOption = None, options: ServerOptions = NO_OPTIONS
) -> None:
    """Write a value."""
    entry = TaskStore.of(task, options).write("tasks.kvSet", key=key, value=_value(value, json=json))
    write_one(entry, options.output, "key")


@kv.command
def cas(
    key: Key,
    value: NewValue,
    /,
    *,
    version: int,
    json: Json = False,
    task: TaskOption = None,
    options: ServerOptions = NO_OPTIONS,
) -> None:
    """Write a value if it is still at a version; the exit code is 1 when it is not.

    Parameters
    ----------
    version
        The version it must have; 0: there must be none. The first to write is the one that wins.
    """
    members = {"key": key, "value": _value(value, json=json), "version": version}
    write_one(TaskStore.of(task, options).write("tasks.kvCas", **members), options.output, "key")


@kv.command
def wait(
    key: Key,
    /,
    *,
    for_: Annotated[str | None, Parameter(name="--for", allow_leading_hyphen=True)] = None,
    version: int = 1,
    json: Json = False,
    timeout: str | None = None,
    task: TaskOption = None,
    options: ServerOptions = NO_OPTIONS,
) -> None:
    """Wait until a value is there, and print it; the exit code is 124 when the time is over.

    Parameters
    ----------
    for_
        Wait until it is this; a text, or with --json a JSON value.
    version
        Wait until it has been written so many times.
    timeout
        How long: 2h, 10m, 30s; otherwise for ever.
    """
    store = TaskStore.of(task, options)
    wanted = None if for_ is None else [_value(for_, json=json)]
    end = time.monotonic() + (seconds_of(timeout) if timeout else float("inf"))
    pause = _SHORTEST_PAUSE
    while True:
        entry = store.query("tasks.kvGet", key=key)
        if entry is not None and entry["version"] >= version and wanted in (None, [entry["value"]]):
            _print(entry, options.output)
            return
        left = end - time.monotonic()
        if left <= 0:
            raise CliError(
                f"{key!r} did not come in {timeout}", "see what is there: ado kv list", exits.TIMED_OUT, "timed_out"
            )
        time.sleep(min(left, random.uniform(pause / 2, pause)))  # noqa: S311
        pause = min(_LONGEST_PAUSE, pause * 1.5)
