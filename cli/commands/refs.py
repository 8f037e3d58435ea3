"""``ado refs``: the refs of tasks under ``refs/ado/``."""

from __future__ import annotations

from app.rpc.client import CallError, HttpClient, Transfer
from cli.declarations import App
from cli.output import confirmed, talk, write_items
from cli.parameters import TaskArgument
from cli.remote.connection import NO_OPTIONS, ServerOptions, choose, http, task_id
from cli.remote.listing import ENDED
from cli.repository import refs as kept_refs
from cli.repository import results
from cli.repository.git import Repository, check_version, failed
from cli.repository.size_limits import file_bytes

_PATIENCE_SECONDS = 60.0
refs = App(name="refs", help="Fetch, show and remove this repository's refs of tasks.")


def _repository() -> Repository:
    check_version()
    local = Repository.of_working_directory()
    if local is None:
        raise failed("there is no git repository here", "go to the repository whose refs are meant")
    return local


def _shown(commits: dict[str, str], options: ServerOptions) -> None:
    items = [{"ref": ref, "commit": commit} for ref, commit in commits.items()]
    write_items({"items": items}, options.output, "ref", [[ref, commit] for ref, commit in commits.items()])


@refs.default
@refs.command(name="list")
def list_(*, options: ServerOptions = NO_OPTIONS) -> None:
    """List the refs that tasks have left in this repository."""
    refs_by_task = kept_refs.kept(_repository())
    _shown({ref: commit for commits in refs_by_task.values() for ref, commit in commits.items()}, options)


@refs.command
def fetch(task: TaskArgument, /, *, job: int | None = None, options: ServerOptions = NO_OPTIONS) -> None:
    """Fetch all results of a task and show their refs: also other branches, stashes and nested files.

    Parameters
    ----------
    job
        Only this job.
    """
    local = _repository()
    name = task_id(task)
    transfer = Transfer(http(choose(options)), patience=_PATIENCE_SECONDS, limit=file_bytes())
    items = []
    for result in results.of_task(name, transfer.list(name), job):
        results.fetch(local, result, transfer)
        items += result.fetched()
    write_items({"items": items}, options.output, "ref", [[item["text"], item["command"]] for item in items])


@refs.command
def prune(*task: TaskArgument, all: bool = False, yes: bool = False, options: ServerOptions = NO_OPTIONS) -> None:
    """Remove the refs of tasks that no longer exist, or that ended and whose results are applied here.

    Each removed ref is printed with its commit: git update-ref REF COMMIT makes it again, until git collects garbage.

    Parameters
    ----------
    task
        Look at these tasks only.
    all
        Remove every ref, also of results that are not applied.
    yes
        Do not ask.
    """
    local = _repository()
    refs_by_task = kept_refs.kept(local)
    if task:
        chosen = set(map(task_id, task))
        refs_by_task = {name: commits for name, commits in refs_by_task.items() if name in chosen}
    if all:
        removable, count = refs_by_task, sum(map(len, refs_by_task.values()))
        question = f"remove {count} refs, also of results that are not applied?"
        if count and not yes and not confirmed(question):
            raise failed("nothing was removed", "without --all only what is applied, or has no task, is removed")
    else:
        client = http(choose(options))
        removable = {name: commits for name, commits in refs_by_task.items() if _is_done(local, client, name, commits)}
    removed = {ref: commit for commits in removable.values() for ref, commit in commits.items()}
    if removed:
        kept_refs.remove(local, removed)
    _shown(removed, options)
    rest = len(refs_by_task) - len(removable)
    others = f"; {rest} tasks keep theirs" if rest else ""
    talk(f"ado: {len(removed)} refs of {len(removable)} tasks removed{others}")


def _is_done(local: Repository, client: HttpClient, name: str, commits: dict[str, str]) -> bool:
    """Whether a task is gone, or has ended and is applied here."""
    try:
        task = client.query("tasks.get", {"taskId": name})
    except CallError as error:
        if error.reason == "no_such_task":
            return True
        raise
    return task["status"] in ENDED and kept_refs.is_applied(local, commits)
