"""``ado tasks``, ``cancel``, ``retry``, ``wait``, ``explain``."""

from __future__ import annotations

import asyncio
from typing import Any

from cyclopts import App

from app.rpc.client import Client
from cli import exits
from cli.connection import Options, choose, http, task_id
from cli.contexts import Server
from cli.errors import usage
from cli.output import talk, write_json
from cli.summary import summary, table
from cli.terminal import neutralise
from cli.waiting import why_waiting

_NO_OPTIONS = Options()
tasks = App(name="tasks", help="List tasks, or show one.", help_format="plaintext")


def _first_line(text: str, length: int = 50) -> str:
    line = (text.strip().splitlines() or [""])[0]
    return neutralise((line[: length - 1] + "…" if len(line) > length else line).encode()).decode()


def _show(task: dict[str, Any], options: Options) -> None:
    if options.as_json:
        write_json(task)
        return
    if options.output == "name":
        print(task["taskId"])
        return
    print(f"{task['taskId']}  {task['status']}  agent {task['agent']}  {task['workers']} jobs")
    print(f"created {task['createdAt']}  started {task.get('startedAt', '-')}  finished {task.get('finishedAt', '-')}")
    if task.get("reason"):
        print(neutralise(f"{task['reason']}: {task.get('message', '')}".encode()).decode())
    print(_first_line(task["prompt"], 200))
    print("\n".join(summary(task)))


@tasks.command(name="list")
def list_(
    *,
    status: str | None = None,
    label: list[str] | None = None,
    limit: int = 20,
    cursor: str | None = None,
    options: Options = _NO_OPTIONS,
) -> int:
    """List tasks, newest first.

    Parameters
    ----------
    status
        queued, running, succeeded, failed or cancelled.
    label
        NAME=VALUE that the tasks must have.
    limit
        How many, up to 100.
    cursor
        Where the page before ended.
    """
    labels = dict(entry.partition("=")[::2] for entry in label or [])
    wish = {"limit": limit, "labels": labels, "status": status, "cursor": cursor}
    page = http(choose(options)).query("tasks.list", wish)
    if options.output == "json":
        write_json(page)
    elif options.output == "jsonl":
        for task in page["items"]:
            write_json(task)
    elif options.output == "name":
        for task in page["items"]:
            print(task["taskId"])
    else:
        rows = [["task", "status", "agent", "jobs", "created", "prompt"]]
        rows += [
            [t["taskId"], t["status"], t["agent"], str(t["workers"]), t["createdAt"][:19], _first_line(t["prompt"])]
            for t in page["items"]
        ]
        print("\n".join(table(rows)))
    return exits.SUCCESS


@tasks.command
def show(task: str, /, *, options: Options = _NO_OPTIONS) -> int:
    """Show one task with its jobs.

    Parameters
    ----------
    task
        The task's id.
    """
    _show(http(choose(options)).query("tasks.get", {"taskId": task_id(task)}), options)
    return exits.SUCCESS


def cancel(task: str, /, *, reason: str | None = None, options: Options = _NO_OPTIONS) -> int:
    """Stop a task.

    Parameters
    ----------
    task
        The task's id.
    reason
        What to say about it.
    """
    found = http(choose(options)).mutate("tasks.cancel", {"taskId": task_id(task), "reason": reason})
    return _changed(found, options, "is stopping" if found["status"] in ("queued", "running") else found["status"])


def retry(task: str, /, *, options: Options = _NO_OPTIONS) -> int:
    """Queue the failed and cancelled jobs of a task again.

    Parameters
    ----------
    task
        The task's id.
    """
    found = http(choose(options)).mutate("tasks.retry", {"taskId": task_id(task)})
    return _changed(found, options, "is queued again")


def _changed(task: dict[str, Any], options: Options, what: str) -> int:
    if options.output == "text":
        talk(f"ado: {task['taskId']} {what}")
    else:
        _show(task, options)
    return exits.SUCCESS


def wait(*task: str, options: Options = _NO_OPTIONS) -> int:
    """Wait for tasks to end; the exit code is that of the first one given that did not succeed.

    Parameters
    ----------
    task
        The tasks' ids.
    """
    if not task:
        raise usage("no task is named", "example: ado wait task-12 task-13")
    ended = asyncio.run(_wait(choose(options), [task_id(name) for name in task]))
    for found in ended:
        if options.output == "text":
            talk(f"ado: {found['taskId']} {found['status']}")
        else:
            _show(found, options)
    return next((code for found in ended if (code := exits.of_task(found))), exits.SUCCESS)


async def _wait(server: Server, names: list[str]) -> list[dict[str, Any]]:
    async with Client(server.urls, server.token, first_contact_seconds=10) as client:

        async def one(name: str) -> dict[str, Any]:
            async for _ in client.subscribe("stream.taskProgress", {"taskId": name}):
                pass
            found: dict[str, Any] = await client.query("tasks.get", {"taskId": name})
            return found

        return list(await asyncio.gather(*(one(name) for name in names)))


def explain(task: str, /, *, options: Options = _NO_OPTIONS) -> int:
    """Say why a task waits.

    Parameters
    ----------
    task
        The task's id.
    """
    client = http(choose(options))
    found = client.query("tasks.get", {"taskId": task_id(task)})
    reason = why_waiting(found, client.query("workers.status")) or f"it does not wait: it is {found['status']}"
    if options.as_json:
        write_json({"taskId": found["taskId"], "status": found["status"], "why": reason})
    else:
        print(reason)
    return exits.SUCCESS
