"""``ado pause`` and ``ado resume``."""

from __future__ import annotations

import uuid

from cli.output import talk, write_one
from cli.parameters import AnyText, TaskArgument
from cli.remote.connection import NO_OPTIONS, ServerOptions, choose, http, task_id
from cli.remote.listing import OPEN
from cli.remote.predecessors import status_of
from cli.remote.retry import until_answered


def pause(task: TaskArgument, /, *, reason: str | None = None, options: ServerOptions = NO_OPTIONS) -> None:
    """Pause a task: queued jobs wait, running agents stop, and their work is kept until ado resume.

    Parameters
    ----------
    reason
        What to say about it.
    """
    client = http(choose(options))
    members = {"taskId": task_id(task), "reason": reason}
    paused = until_answered(lambda: client.mutate("tasks.pause", members))
    name, status = paused["taskId"], paused["status"]
    stopping = sum(job["status"] == "running" and "pauseRequestedAt" in job for job in paused["jobs"])
    can_go_on = stopping > 0 or any(job["status"] == "paused" for job in paused["jobs"])
    if status not in OPEN:
        what = f"has ended already: {status}"
    elif stopping:
        what = f"is being paused; {stopping} {'job is' if stopping == 1 else 'jobs are'} stopping"
    else:  # without a paused job all of its jobs have ended, or are being stopped
        what = "is paused" if can_go_on else "is ending: it has no job that could be paused"
    write_one(paused, options.output, "taskId", note=f"{name} {what}")
    if options.output == "text" and status in OPEN and can_go_on:
        talk(f"ado: go on with: ado resume {name}")


def resume(
    task: TaskArgument,
    text: AnyText | None = None,
    /,
    *,
    options: ServerOptions = NO_OPTIONS,
) -> None:
    """Resume a paused task.

    Parameters
    ----------
    text
        Words for its agents, which they get with their next prompt.
    """
    client = http(choose(options))
    members = {"taskId": task_id(task), "text": text, "idempotencyKey": str(uuid.uuid4())}
    resumed = until_answered(lambda: client.mutate("tasks.resume", members))
    open_ = resumed["status"] in OPEN
    what = f"is {status_of(resumed)}" if resumed.get("waitsFor") else "goes on"
    what = what if open_ else f"has ended already: {resumed['status']}"
    write_one(resumed, options.output, "taskId", note=f"{resumed['taskId']} {what}")
