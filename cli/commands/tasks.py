"""``ado tasks``, ``cancel``, ``retry``, ``wait``, ``explain``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from app.rpc.client import CallError, NoAnswer
from cli import exits
from cli.agents import agents_of
from cli.declarations import App, Parameter
from cli.errors import CliError, usage
from cli.option_values import pairs
from cli.output import confirmed, shortened, table, talk, write_items, write_one
from cli.parameters import Notify, TaskArgument, Yes
from cli.remote.connection import NO_OPTIONS, ServerOptions, choose, http, task_id
from cli.remote.fleet import silence, why_waiting
from cli.remote.listing import open_questions, open_tasks, pages, task_filter, workers_status
from cli.remote.predecessors import order_of, status_of
from cli.remote.retry import until_answered
from cli.remote.summary import paused, summary, used
from cli.render.ages import ago, when
from cli.render.escape_sequences import plain
from cli.render.questions import asks
from cli.render.task_ending import sentence
from cli.render.visible import first_line

tasks = App(name="tasks", help="List, show, update and remove tasks.")


def _budget(task: dict[str, Any]) -> str:
    units = {"costUsd": "US dollars", "tokens": "tokens", "turns": "turns"}
    budget = task.get("budget") or {}
    return ", ".join(f"{budget[name]:.12g} {unit}" for name, unit in units.items() if budget.get(name))


def _agents(task: dict[str, Any]) -> str:
    names = agents_of(task)
    return f"agent {names[0]}" if len(names) == 1 else f"agents {', '.join(names)} in turn"


def _show(task: dict[str, Any], options: ServerOptions) -> None:
    picked = [f"job {task['pickedJob']} picked"] if task.get("pickedJob") is not None else []
    allowed = ["trusts the project"] if task.get("trustProject") else []
    allowed += [f"approve {task['approve']}"] if task.get("approve") else []
    checks = task.get("checks") or {}
    creator = [f"by {task['createdBy']}"] if task.get("createdBy") else []
    labels = [f"{name}={value}" for name, value in sorted(task["labels"].items())]
    priority = [f"priority {task['priority']}"] if task["priority"] else []
    times = [f"{name} {when(task.get(f'{name}At'))}" for name in ("created", "started", "finished")]
    jobs = "1 job" if task["workers"] == 1 else f"{task['workers']} jobs"
    lines = [
        "  ".join([task["taskId"], task["status"], _agents(task), jobs, *creator, *priority, *allowed, *picked]),
        "  ".join(times),
        *([f"labels: {', '.join(labels)}"] if labels else []),
        *order_of(task),
        *([f"setup: {first_line(setup, 200)}"] if (setup := checks.get("setup")) else []),
        *(f"check: {first_line(command, 200)}" for command in checks.get("commands", [])),
        *([f"budget of each job: {budget}"] if (budget := _budget(task)) else []),
        first_line(task["prompt"], 200),
        *summary(task),
        *used(task),
        *([f"waiting: {why}"] if (why := why_waiting(task)) else []),
        *([paused(task)] if task["status"] == "paused" else []),
    ]
    if task.get("reason") and not sentence(task):
        lines.insert(2, f"{task['reason']}: {plain(task['message'])}" if task.get("message") else task["reason"])
    write_one(task, options.output, "taskId", lines)


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class TaskFilterOptions:
    """Which tasks to list."""

    status: list[str] | None = None
    "queued, running, paused, succeeded, failed or cancelled; several separated by commas."
    label: list[str] | None = None
    "NAME that the tasks must have, or NAME=VALUE."
    since: str | None = None
    """How long ago the oldest were created (2d, 12h, 10m), or a time such as 2030-12-31T10:00+01:00."""
    search: str | None = None
    "A text in the prompts; upper and lower case are the same."
    mine: bool = False
    "Only the tasks that you created."
    created_by: str | None = None
    "Only the tasks of a user or service, by name or id."

    def members(self) -> dict[str, Any]:
        """Return the input of tasks.list. Raises CliError."""
        query = task_filter(statuses=self.status or [], labels=self.label or [], since=self.since, search=self.search)
        return {**query, "mine": self.mine, "createdBy": self.created_by}


_EVERY_TASK = TaskFilterOptions()


@tasks.default
@tasks.command(name="list")
def list_(
    *,
    selection: TaskFilterOptions = _EVERY_TASK,
    limit: int = 20,
    cursor: str | None = None,
    all: Annotated[bool, Parameter(name="--all")] = False,
    options: ServerOptions = NO_OPTIONS,
) -> None:
    """List tasks, newest first: those that fit every option.

    Parameters
    ----------
    limit
        How many.
    cursor
        Where the previous list ended.
    all
        List all of them.
    """
    if limit < 1:
        raise usage(f"--limit {limit}: at least one task is listed", "example: ado tasks list --limit 20")
    query = {**selection.members(), "cursor": cursor}
    listed = list(pages(http(choose(options)), query, None if all else limit))
    items = [task for page in listed for task in page["items"]]
    rows = [["task", "status", "agent", "jobs", "created", "by", "prompt"], *map(_row, items)]
    more = listed[-1].get("nextCursor")
    write_items({"items": items, **({"nextCursor": more} if more else {})}, options.output, "taskId", rows)
    if more and options.output == "text":
        talk(f"ado: there are more: --all lists them, --limit {limit * 5} more of them, --cursor {more} the next ones")


def _row(task: dict[str, Any]) -> list[str]:
    creator, prompt = task.get("createdBy", "-"), first_line(task["prompt"])
    picked = f", picked {task['pickedJob']}" if task.get("pickedJob") is not None else ""
    jobs, created = f"{task['workers']}{picked}", ago(task["createdAt"])
    limited = any(job["status"] == "queued" and job.get("reason") == "rate_limit" for job in task["jobs"])
    status = f"{status_of(task)}, rate limited" if limited else status_of(task)
    return [task["taskId"], status, ", ".join(agents_of(task)), jobs, created, creator, prompt]


@tasks.command
def show(task: TaskArgument, /, *, job: int | None = None, options: ServerOptions = NO_OPTIONS) -> None:
    """Show one task with its jobs.

    Parameters
    ----------
    job
        As JSON: with the result of this job alone, however large it is.
    """
    query = {"taskId": task_id(task), "job": job, "explain": options.output == "text"}
    shown = http(choose(options)).query("tasks.get", query)
    _show(shown, options)
    large = [item["job"] for item in shown["jobs"] if "resultBytes" in item]
    if large and job is None and options.as_json:
        step = f"ado tasks show {shown['taskId']} --job {large[0]} -o json"
        talk(f"ado: results of {len(large)} jobs are too large for one answer and are left out; for each: {step}")


@tasks.command
def update(
    task: TaskArgument,
    /,
    *,
    priority: int | None = None,
    label: list[str] | None = None,
    version: int | None = None,
    options: ServerOptions = NO_OPTIONS,
) -> None:
    """Change a task's priority or labels; other changes that come in between are kept.

    Parameters
    ----------
    priority
        Larger is claimed first.
    label
        NAME=VALUE to add or change; NAME= removes it.
    version
        Only if the task is still at this version.
    """
    if priority is None and not label:
        raise usage("nothing is to be changed", "give --priority or --label NAME=VALUE")
    labels = pairs(label, "--label")
    client = http(choose(options))
    while True:
        current = until_answered(lambda: client.query("tasks.get", {"taskId": task_id(task)}))
        members = {"taskId": current["taskId"], "version": version or current["version"], "priority": priority}
        if label:
            merged = {**current["labels"], **labels}
            members["labels"] = {name: value for name, value in merged.items() if value}
        try:
            current = client.mutate("tasks.update", members)
        except CallError as error:
            if error.reason != "version_conflict" or version is not None:
                raise
        except NoAnswer:  # whether it took effect is seen in what is read next; writing the same again is harmless
            if version is not None:
                raise
        else:
            _changed(current, options, f"is changed (version {current['version']})")
            return


def cancel(
    *task: TaskArgument,
    label: list[str] | None = None,
    created_by: str | None = None,
    all: Annotated[bool, Parameter(name="--all")] = False,
    yes: Yes = False,
    reason: str | None = None,
    options: ServerOptions = NO_OPTIONS,
) -> int:
    """Stop tasks.

    Parameters
    ----------
    label
        NAME or NAME=VALUE: stop the tasks that have it and have not ended.
    created_by
        Stop the tasks of this user or service that have not ended; with --label those that have the label, too.
    all
        Stop every task that has not ended.
    reason
        What to say about it.
    """
    if sum((bool(task), bool(label) or created_by is not None, all)) != 1:
        what = "name the tasks to stop, or give --created-by, --label or --all"
        raise usage(what, "example: ado cancel task-12 task-13")
    client = http(choose(options))
    names = list(dict.fromkeys(map(task_id, task)))
    if not names:
        names = open_tasks(client, label or [], created_by=created_by)
        if names and not yes and not confirmed(f"stop {_count(names)}: {shortened(names)}?"):
            return exits.FAILED
        if not names:
            talk(f"ado: {_none_open(label, created_by)}")
    code = exits.SUCCESS
    for name in names:
        try:
            cancelled = client.mutate("tasks.cancel", {"taskId": name, "reason": reason})
        except CallError as error:
            if len(names) == 1:
                raise
            code = code or exits.of_call(error.code)
            talk(f"ado: {error.message}")
        else:
            _changed(cancelled, options, _stopping(cancelled))
    return code


def _none_open(label: list[str] | None, created_by: str | None) -> str:
    if created_by is not None:
        return f"{created_by} has no open task{' with these labels' if label else ''}"
    return "no open task has these labels" if label else "no task is open"


def _stopping(task: dict[str, Any]) -> str:
    if task["status"] == "cancelled":  # by this call or before it: the answer is the same
        return "is cancelled"
    return "is stopping" if task["status"] in ("queued", "running") else f"has ended already: {task['status']}"


def _count(names: Sequence[str]) -> str:
    return "1 task" if len(names) == 1 else f"{len(names)} tasks"


def retry(task: TaskArgument, /, *, job: int | None = None, options: ServerOptions = NO_OPTIONS) -> None:
    """Queue the failed and cancelled jobs of a task again.

    Parameters
    ----------
    job
        Only this one of its jobs.
    """
    retried = http(choose(options)).mutate("tasks.retry", {"taskId": task_id(task), "job": job})
    _changed(retried, options, "is queued again" if job is None else f"runs its job {job} again")


@tasks.command
def rm(
    *task: TaskArgument,
    yes: Yes = False,
    options: ServerOptions = NO_OPTIONS,
) -> int:
    """Delete tasks that have ended, with their logs and files, and the refs that the repository here keeps of them.

    Several are deleted after a question. One that has not ended stays: cancel it first.
    """
    from cli.repository import refs

    if not task:
        raise usage("no task is named", "ado tasks list shows them")
    client = http(choose(options))
    names = list(dict.fromkeys(map(task_id, task)))
    if len(names) > 1 and not yes and not confirmed(f"delete {_count(names)} for good: {shortened(names)}?"):
        return exits.FAILED
    gone: dict[str, str] = {}
    code = exits.SUCCESS
    try:
        for name in names:
            try:
                done = client.mutate("tasks.remove", {"taskId": name})
            except CallError as error:
                if len(names) == 1:
                    raise
                code = code or exits.of_call(error.code)
                talk(f"ado: {'; '.join(filter(None, (error.message, error.hint)))}")
            else:
                gone |= _forget_refs(name)
                write_one(done, options.output, "taskId", note=f"{name} is removed")
    finally:
        for line in refs.removed(gone):
            talk(f"ado: ref removed: {line}")
    return code


def _forget_refs(name: str) -> dict[str, str]:
    """Remove the refs of a task from the repository of the working directory; return them."""
    from cli.repository import refs
    from cli.repository.git import Repository

    repository = Repository.of_working_directory()
    commits = refs.kept(repository).get(name, {}) if repository else {}
    if repository and commits:
        refs.remove(repository, commits)
    return commits


def _changed(task: dict[str, Any], options: ServerOptions, what: str) -> None:
    write_one(task, options.output, "taskId", note=f"{task['taskId']} {what}")


def wait(
    *task: TaskArgument,
    any_: Annotated[bool, Parameter(name="--any", negative="")] = False,
    notify: Notify = False,
    options: ServerOptions = NO_OPTIONS,
) -> int:
    """Wait for tasks to end; the exit code is that of the first one given that did not succeed.

    Parameters
    ----------
    any_
        Wait only until one of them has ended, and show those that have.
    """
    from cli.remote.ended_tasks import wait_for

    if not task:
        raise usage("no task is named", "example: ado wait task-12 task-13")
    ended = wait_for(choose(options), [task_id(name) for name in task], first_only=any_, notify=notify)
    for ended_task in ended:
        write_one(ended_task, options.output, "taskId", note=f"{ended_task['taskId']} {ended_task['status']}")
    return next((code for ended_task in ended if (code := exits.of_task(ended_task))), exits.SUCCESS)


def _state(task: dict[str, Any], status: dict[str, Any]) -> str:
    """Return what a task that does not wait does, or how it ended."""
    if task["status"] == "succeeded":
        return "it has succeeded"
    if task["status"] == "paused":
        return paused(task)
    return sentence(task) or f"it is {task['status']}{silence(task, status)}"


def explain(task: TaskArgument, /, *, options: ServerOptions = NO_OPTIONS) -> None:
    """Say why a task waits."""
    client = http(choose(options))
    explained = client.query("tasks.get", {"taskId": task_id(task), "explain": True})
    wait = explained.get("wait")
    if wait is None and any(job["status"] == "queued" for job in explained["jobs"]):
        raise CliError(
            "the server is of an older release and does not say why a task waits", "upgrade it", exits.FAILED
        )
    reason = wait["why"] if wait else f"it does not wait: {_state(explained, workers_status(client))}"
    questions = open_questions(client, explained["taskId"])
    names = ("workerId", "state", "unmet", "help")
    workers = [{name: worker.get(name) for name in names} for worker in wait["workers"]] if wait else []
    shape = {"taskId": explained["taskId"], "status": explained["status"], "why": reason, "workers": workers}
    shape["questions"] = [question["questionId"] for question in questions]
    rows = [["worker", "state", "unmet", "what would help"]]
    rows += [[worker[name] or "-" for name in names] for worker in workers if worker["help"] != reason]
    lines = [reason or "a worker can run it: it will be claimed at once", *(table(rows) if len(rows) > 1 else [])]
    lines += [asks(question) for question in questions]
    write_one(shape, options.output, "taskId", lines)
