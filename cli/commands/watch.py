"""``ado attach`` and ``ado logs``."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from cyclopts import Parameter

from cli.agents import PROGRAMS
from cli.errors import usage
from cli.option_values import seconds_of
from cli.output import talk, write_one
from cli.parameters import TaskArgument
from cli.remote.connection import NO_OPTIONS, Options, choose, http, task_id
from cli.remote.contexts import Server
from cli.remote.follow import View, follow


def _task(server: Server, name: str) -> dict[str, Any]:
    client = http(server)
    try:
        task: dict[str, Any] = client.query("tasks.get", {"taskId": task_id(name)})
    finally:
        client.close()
    return task


def attach(
    task: TaskArgument,
    /,
    *,
    from_: Annotated[str, Parameter(name="--from")] = "start",
    tail: int | None = None,
    raw_events: bool = False,
    options: Options = NO_OPTIONS,
) -> int:
    """Replay a task's log, then watch it live. It never alters the task; its exit code is the task's.

    Parameters
    ----------
    from_
        start, or the number of the last event already seen.
    tail
        Only the last so many lines (as JSON: events) before what comes.
    raw_events
        An AI agent's own lines instead of what they say.
    """
    if from_ != "start" and not from_.isdigit():
        raise usage(f"--from {from_}: start or a number is wanted", "example: --from 120")
    _check_tail(tail)
    server = choose(options)
    found = _task(server, task)
    after = None if from_ == "start" else int(from_)
    view = View(found["taskId"], found["workers"], after=after, tail=tail, own_lines=raw_events)
    return watch(server, view, options)


def watch(server: Server, view: View, options: Options) -> int:
    """Show a task in the wished form: live text or JSON lines; json and name wait and then print one thing."""
    if options.output in ("json", "name"):
        code = follow(server, replace(view, procedure="stream.taskProgress", silent=True))
        write_one(_task(server, view.task_id), options.output, "taskId")
        return code
    return follow(server, replace(view, json_lines=options.output == "jsonl"))


def _check_tail(tail: int | None) -> None:
    if tail is not None and tail < 0:
        raise usage(f"--tail {tail}: a number from 0 on is wanted", "example: --tail 20")


def _check_selection(task: dict[str, Any], job: int | None, attempt: int | None) -> None:
    """Refuse what can match nothing: an empty answer would look like a silent job."""
    if job is not None and not 0 <= job < task["workers"]:
        raise usage(f"{task['taskId']} has no job {job}", f"its jobs are 0 … {task['workers'] - 1}")
    made = max(item["attempt"] for item in task["jobs"] if job in (None, item["job"]))
    if attempt is not None and not 1 <= attempt <= made:
        which = task["taskId"] if job is None else f"{task['taskId']}/{job}"
        raise usage(
            f"{which} has no attempt {attempt}", f"its last one is {made}" if made else "it has not started yet"
        )


def logs(
    task: TaskArgument,
    /,
    *,
    follow_: Annotated[bool, Parameter(name=["--follow", "-f"])] = False,
    job: int | None = None,
    attempt: int | None = None,
    stderr: bool = False,
    timestamps: bool = False,
    since: str | None = None,
    tail: int | None = None,
    raw: bool = False,
    raw_events: bool = False,
    options: Options = NO_OPTIONS,
) -> int:
    """Print a task's output.

    Parameters
    ----------
    follow_
        Go on until the task ends.
    job
        Only this job.
    attempt
        Only this attempt.
    stderr
        Only what went to stderr.
    timestamps
        With the worker's time before each line.
    since
        Only what was stored in the last 10m, 2h, 30s.
    tail
        Only the last so many lines (as JSON or raw: output events).
    raw
        The exact bytes of one job's last attempt.
    raw_events
        An AI agent's own lines instead of what they say.
    """
    _check_tail(tail)
    server = choose(options)
    found = _task(server, task)
    _check_selection(found, job, attempt)
    if raw:
        if job is None and found["workers"] > 1:
            raise usage("--raw is for one job", f"add --job 0 … {found['workers'] - 1}")
        job = job or 0
        attempt = attempt or found["jobs"][job]["attempt"]
    view = View(
        found["taskId"],
        found["workers"],
        procedure="stream.taskOutput" if found["agent"] in PROGRAMS and not follow_ else "stream.taskEvents",
        follow=follow_,
        job=job,
        attempt=attempt,
        tail=tail,
        since=seconds_of(since) if since else None,
        timestamps=timestamps,
        stderr_only=stderr,
        raw=raw,
        own_lines=raw_events,
        json_lines=options.as_json,
        verdict=False,
    )
    code = follow(server, view)
    for item in found["jobs"]:
        if item.get("droppedBytes") and job in (None, item["job"]) and attempt in (None, item["attempt"]):
            talk(f"ado: {item['jobId']}: {item['droppedBytes']} bytes of output beyond the server's limit were dropped")
    return code
