"""``ado send``: words for the agents of a task, in whatever state its jobs are."""

from __future__ import annotations

import sys
import uuid
from typing import Any

from cli.errors import usage
from cli.output import talk, write_one
from cli.parameters import AnyText, TaskArgument
from cli.remote.connection import NO_OPTIONS, ServerOptions, choose, http, task_id
from cli.remote.fleet import why_waiting
from cli.remote.retry import until_answered


def send(
    task: TaskArgument,
    text: AnyText,
    /,
    *,
    job: int | None = None,
    key: str | None = None,
    options: ServerOptions = NO_OPTIONS,
) -> None:
    """Send a message to the agent of a task, whether it is queued, runs, is paused or has ended.

    Parameters
    ----------
    text
        The words; - reads them from stdin.
    job
        Only to this job; otherwise to every job that is not cancelled.
    key
        A key of your own: the same message with the same key is sent once, however often a script repeats it.
    """
    client = http(choose(options))
    members = {"taskId": task_id(task), "text": _words(text), "job": job, "idempotencyKey": key or str(uuid.uuid4())}
    message = until_answered(lambda: client.mutate("tasks.send", members))
    write_one(message, options.output, "messageId", note=f"{message['messageId']} is sent to {message['taskId']}")
    if options.output == "text" and message["state"] == "waiting":
        _say_when(client, message)


def _words(text: str) -> str:
    try:
        return sys.stdin.buffer.read().decode() if text == "-" else text
    except ValueError as error:
        raise usage(f"the message cannot be read: {error}", "send it as UTF-8 text") from error


def _say_when(client: Any, message: dict[str, Any]) -> None:
    """Say when the agents get a message, and what a queued job waits for."""
    task = until_answered(lambda: client.query("tasks.get", {"taskId": message["taskId"], "explain": True}))
    waiting = {item["job"] for item in message["jobs"] if item["state"] == "waiting"}
    states = {job["status"] for job in task["jobs"] if job["job"] in waiting}
    if "running" in states:
        talk("ado: a running agent gets it as soon as it takes words, at the latest when it ends its turn")
    if "queued" in states:
        talk("ado: a queued job's agent gets it when it starts")
        if reason := why_waiting(task):
            talk(f"ado: waiting: {reason}")
    if "paused" in states:
        talk(f"ado: a paused job's agent gets it when it goes on: ado resume {message['taskId']}")
    talk(f"ado: follow it with: ado attach {message['taskId']}")
