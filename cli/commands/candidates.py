"""``ado compare`` and ``ado pick``: the jobs of a task side by side, and the choice of one."""

from __future__ import annotations

from typing import Annotated, Any

from app.core.git import GitError, quoted
from cli import exits
from cli.commands.repo import apply_result, check_out_result, fetched, readable, show_difference, stored_files
from cli.declarations import Parameter
from cli.errors import CliError, usage
from cli.output import talk, write_items, write_one
from cli.parameters import ResultJob, TaskArgument
from cli.remote.comparison import candidates, rows
from cli.remote.connection import NO_OPTIONS, ServerOptions, choose, http, task_id
from cli.remote.listing import OPEN
from cli.remote.retry import until_answered
from cli.repository import results
from cli.repository.git import failed


def compare(
    task: TaskArgument,
    /,
    *,
    diff: Annotated[tuple[int, int] | None, Parameter(negative=())] = None,
    stat: bool = False,
    options: ServerOptions = NO_OPTIONS,
) -> None:
    """Show the jobs of a task side by side: agent, checks, changes, cost and time of each last attempt.

    Parameters
    ----------
    diff
        Two jobs: show the difference between their results instead.
    stat
        With --diff: only which files, and how many lines.
    """
    if diff is not None:
        _compare_two(task, *diff, stat=stat, options=options)
        return
    if stat:
        raise usage("--stat belongs to --diff", "example: ado compare task-12 --diff 0 1 --stat")
    client = http(choose(options))
    compared = client.query("tasks.get", {"taskId": task_id(task)})
    rated = candidates(compared, stored_files(client, compared["taskId"]))
    picked = {"pickedJob": compared["pickedJob"]} if "pickedJob" in compared else {}
    write_items(
        {"taskId": compared["taskId"], "status": compared["status"], **picked, "items": rated},
        options.output,
        "jobId",
        rows(rated),
    )
    if options.output == "text":
        _talk_next(compared, rated)


def _talk_next(task: dict[str, Any], rated: list[dict[str, Any]]) -> None:
    name = task["taskId"]
    changed = [candidate["job"] for candidate in rated if candidate.get("files")]
    if len(changed) > 1:
        talk(f"ado: two of them in detail: ado compare {name} --diff {changed[0]} {changed[1]}")
    if changed:
        talk(f"ado: look at one: ado diff {name} --job {changed[0]}; take it: ado pick {name} --job {changed[0]}")
    elif task["status"] in OPEN:
        talk(f"ado: no job has a result yet; wait for it: ado wait {name}")


def _compare_two(task: str, first: int, second: int, *, stat: bool, options: ServerOptions) -> None:
    with readable(task, first, options) as stored:
        repository, old, new = stored.repository, stored.result, stored.other(second)
        commits = results.files_of(repository, old), results.files_of(repository, new)
        try:
            paths = [quoted(path) for path in results.differing_paths(repository, *commits)]
            if not paths:
                talk(f"ado: jobs {first} and {second} of {old.task_id} have the same files")
            if options.output == "text":
                show_difference(repository, *commits, stat=stat)
            else:
                sides = {"from": {"job": first, "commit": old.commit}, "to": {"job": second, "commit": new.commit}}
                write_one({"taskId": old.task_id, **sides, "paths": paths}, options.output, "taskId")
        except GitError as error:
            step = f"try: ado compare {old.task_id} --diff {first} {second} --stat"
            raise failed(f"git cannot show it: {error}", step) from error


def pick(
    task: TaskArgument,
    /,
    *,
    job: ResultJob = None,
    checkout: bool = False,
    options: ServerOptions = NO_OPTIONS,
) -> None:
    """Take one job's result as ado apply does, and record the choice. Another job can be picked later.

    Parameters
    ----------
    checkout
        Check out the branch with the result, instead of changing the working tree.
    """
    client = http(choose(options))
    compared = client.query("tasks.get", {"taskId": task_id(task)})
    local, result = fetched(task, job, options)
    chosen = compared["jobs"][result.job]
    if chosen["status"] in OPEN:  # it may have the result of an earlier attempt
        step = f"wait for it: ado wait {result.task_id}"
        raise CliError(f"{chosen['jobId']} is {chosen['status']}", step, exits.FAILED, "nothing_to_pick")
    if chosen["status"] != "succeeded":
        why = f" ({chosen['reason']})" if chosen.get("reason") else ""
        talk(f"ado: job {result.job} has {chosen['status']}{why}; its changes are taken as they are")
    shape, note = check_out_result(local, result) if checkout else apply_result(local, result, "ado pick")
    if options.output == "text":
        talk(f"ado: {note}")
    members = {"taskId": result.task_id, "job": result.job}
    until_answered(lambda: client.mutate("tasks.pick", members))
    client.close()
    write_one({**shape, **members}, options.output, "taskId", note=f"job {result.job} of {result.task_id} is picked")
