"""``ado pr``: the result of a task as a branch of the remote, and a pull request for it."""

from __future__ import annotations

from typing import Any

from cli.commands.repo import fetched, make_branch
from cli.output import write_one
from cli.parameters import ResultJob, TaskArgument
from cli.remote.connection import NO_OPTIONS, ServerOptions, choose, http, task_id
from cli.repository import remotes
from cli.repository.pull_requests import PullRequest, body_of, is_installed, open_request, title_of


def pull_request(
    task: TaskArgument,
    /,
    *,
    job: ResultJob = None,
    to: str | None = None,
    base: str | None = None,
    draft: bool = False,
    options: ServerOptions = NO_OPTIONS,
) -> None:
    """Push a task's result as a branch, and open a pull request with gh or glab. It may be repeated.

    Where the program of the server is not installed, the address is printed at which you can open one. Without --job
    it is the job that was picked.

    Parameters
    ----------
    to
        The remote to push to; without it that of the current branch, or origin.
    base
        The branch to merge into; without it the server's default.
    draft
        Open it as a draft.
    """
    client = http(choose(options))
    shown = client.query("tasks.get", {"taskId": task_id(task)})
    local, result = fetched(task, shown.get("pickedJob") if job is None else job, options)
    remote = remotes.choose(local, to)
    make_branch(local, result)
    remotes.push(local, remote, result.branch)
    shown = client.query("tasks.get", {"taskId": result.task_id, "job": result.job})  # with the summary, however long
    client.close()
    title, body = title_of(shown["prompt"], result.task_id), _body(shown, shown["jobs"][result.job])
    request = PullRequest(remote, result.branch, title, body, base, draft)
    program = request.program()
    opens = program is not None and is_installed(program)
    page = remote.new_request(result.branch)
    url = open_request(request, program, f"ado pr {result.name}") if program and opens else page
    value = {"taskId": result.task_id, "job": result.job, "branch": result.branch, "commit": result.commit,
             "remote": remote.name, "url": url, "opened": opens}  # fmt: skip
    write_one(value, options.output, "url", [url] if url else [], note=_note(request, program, opens=opens))


def _body(task: dict[str, Any], job: dict[str, Any]) -> str:
    result = job.get("result")
    summary = result.get("text") if isinstance(result, dict) else None
    agent = job.get("agent") or task["agent"]
    return body_of(summary if isinstance(summary, str) else "", f"Made by {agent} in {job['jobId']} of ado.")


def _note(request: PullRequest, program: str | None, *, opens: bool) -> str:
    remote = request.remote
    pushed = f"{request.branch} is pushed to {remote.name}"
    if opens:
        return f"{pushed}; {program} has the pull request at this address"
    if not remote.host:
        return f"{pushed}, whose address names no web server; open a pull request there"
    return f"{pushed}; open a pull request at this address" + (f", or install {program}" if program else "")
