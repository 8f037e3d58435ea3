"""``ado attach`` and ``ado logs``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from app.rpc.client import HttpClient
from cli.agents import agents_of, is_ai
from cli.declarations import Parameter
from cli.errors import usage
from cli.option_values import optional_seconds
from cli.output import talk, write_one
from cli.parameters import Notify, RawEvents, Tail, TaskArgument
from cli.remote.connection import NO_OPTIONS, ServerOptions, choose, http, task_id
from cli.remote.contexts import ServerContext
from cli.remote.follow import Follower, FollowProgress, View
from cli.remote.listing import ENDED

_MOST_LINES = 10**9


def _task(server: ServerContext, name: str) -> dict[str, Any]:
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
    tail: Tail = None,
    raw_events: RawEvents = False,
    notify: Notify = False,
    options: ServerOptions = NO_OPTIONS,
) -> int:
    """Replay a task's log, then watch it live. It changes nothing; its exit code is the task's.

    Parameters
    ----------
    from_
        start, or the number of the last event already seen.
    """
    if from_ != "start" and not re.fullmatch("[0-9]{1,19}", from_):
        raise usage(f"--from {from_} is neither a number nor start", "example: --from 120")
    _check_tail(tail)
    server = choose(options)
    shown = _task(server, task)
    after = None if from_ == "start" else int(from_)
    view = View(
        shown["taskId"],
        shown["workers"],
        after=after,
        tail=tail,
        own_lines=raw_events,
        notify=notify,
        known=shown["lastSeq"],
        ended=shown["status"] in ENDED,
    )
    return watch(server, view, options)


def watch(server: ServerContext, view: View, options: ServerOptions, calls: HttpClient | None = None) -> int:
    """Show a task as the output option says: live text or JSON lines; json and name wait, then print one thing.

    ``calls`` is the client that has just created the task; its connection is used on.
    """
    if options.output in ("json", "name"):
        code = _follow(server, view._replace(procedure="stream.taskProgress", silent=True), calls)
        write_one(_task(server, view.task_id), options.output, "taskId")
        return code
    return _follow(server, view._replace(json_lines=options.output == "jsonl"), calls)


def _follow(server: ServerContext, view: View, calls: HttpClient | None = None) -> int:
    """Show a task; return the exit code."""
    follower = Follower(server, view)
    if not view.is_live:
        return follower.replay()
    if calls is None or view.stdin:  # what is piped in is sent beside the output
        return _follow_live(server, view)
    try:
        code = follower.begin(calls)
        return _follow_live(server, view, follower.progress) if code is None else code
    except KeyboardInterrupt:  # before the event loop handles signals
        return follower.leave()


def _follow_live(server: ServerContext, view: View, begun: FollowProgress | None = None) -> int:
    import asyncio

    from cli.remote.live_follow import LiveFollower

    return asyncio.run(LiveFollower(server, view, begun).run())


def _check_tail(tail: int | None) -> None:
    if tail is not None and tail < 0:
        raise usage(f"--tail {tail} is not a number from 0 on", "example: --tail 20")
    if tail is not None and tail > _MOST_LINES:
        raise usage(f"--tail {tail} is more than any log has", "leave it out for the whole log")


def _check_selection(task: dict[str, Any], job: int | None, attempt: int | None) -> None:
    """Raise CliError for a job or an attempt that the task does not have: no output would look like a silent job."""
    if job is not None and not 0 <= job < task["workers"]:
        raise usage(f"{task['taskId']} has no job {job}", f"its jobs are 0 … {task['workers'] - 1}")
    last = max(item["attempt"] for item in task["jobs"] if job in (None, item["job"]))
    if attempt is not None and not 1 <= attempt <= last:
        which = task["taskId"] if job is None else f"{task['taskId']}/{job}"
        raise usage(
            f"{which} has no attempt {attempt}", f"its last one is {last}" if last else "it has not started yet"
        )


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class LogSelection:
    """Which part of a task's log to print."""

    job: int | None = None
    "Only this job."
    attempt: int | None = None
    "Only this attempt."
    stderr: bool = False
    "Only what was written to stderr."
    since: str | None = None
    "Only what was stored in the last 10m, 2h, 30s."
    tail: Tail = None

    def of_one_job(self, task: Mapping[str, Any]) -> LogSelection:
        """Return the selection of one job's attempt, its last one by default. Raises CliError."""
        if self.job is None and task["workers"] > 1:
            raise usage("--raw is for one job", f"add --job 0 … {task['workers'] - 1}")
        job = self.job or 0
        return replace(self, job=job, attempt=self.attempt or task["jobs"][job]["attempt"])

    def has(self, job: Mapping[str, Any]) -> bool:
        """Whether a job's last attempt is selected."""
        return self.job in (None, job["job"]) and self.attempt in (None, job["attempt"])


_WHOLE_LOG = LogSelection()


def logs(
    task: TaskArgument,
    /,
    *,
    follow_: Annotated[bool, Parameter(name=["--follow", "-f"])] = False,
    selection: LogSelection = _WHOLE_LOG,
    timestamps: bool = False,
    raw: bool = False,
    raw_events: RawEvents = False,
    options: ServerOptions = NO_OPTIONS,
) -> int:
    """Print a task's output.

    Parameters
    ----------
    follow_
        Go on until the task ends.
    timestamps
        With the worker's time before each line.
    raw
        The exact bytes of one job's last attempt.
    """
    _check_tail(selection.tail)
    server = choose(options)
    shown = _task(server, task)
    _check_selection(shown, selection.job, selection.attempt)
    if raw:
        selection = selection.of_one_job(shown)
    has_output_only = not is_ai(agents_of(shown)) and not follow_
    view = View(
        shown["taskId"],
        shown["workers"],
        procedure="stream.taskOutput" if has_output_only else "stream.taskEvents",
        follow=follow_,
        job=selection.job,
        attempt=selection.attempt,
        tail=selection.tail,
        since=optional_seconds(selection.since),
        timestamps=timestamps,
        stderr_only=selection.stderr,
        raw=raw,
        own_lines=raw_events,
        json_lines=options.as_json,
        verdict=False,
        ended=shown["status"] in ENDED,
    )
    code = _follow(server, view)
    _say_what_was_dropped(shown, selection)
    return code


def _say_what_was_dropped(task: dict[str, Any], selection: LogSelection) -> None:
    for job in task["jobs"]:
        if job.get("droppedBytes") and selection.has(job):
            talk(f"ado: {job['jobId']}: {job['droppedBytes']} bytes of output beyond the server's limit were dropped")
