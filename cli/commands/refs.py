"""``ado refs``: what a repository keeps of tasks, under ``refs/ado/``."""

from __future__ import annotations

import sys

from cyclopts import App

from app.rpc.client import CallError, HttpClient, Transfer
from cli import exits
from cli.errors import usage
from cli.output import talk, write_items
from cli.parameters import TaskArgument
from cli.remote.connection import NO_OPTIONS, Options, choose, http, task_id
from cli.render.terminal import is_terminal
from cli.repository import refs as kept_refs
from cli.repository import results
from cli.repository.git import Repository, check_version, failed
from cli.repository.size_limits import file_bytes

_PATIENCE_SECONDS = 60.0
_ENDED = frozenset({"succeeded", "failed", "cancelled"})
refs = App(name="refs", help="Fetch, show and remove what this repository keeps of tasks.", help_format="plaintext")


def _here() -> Repository:
    check_version()
    here = Repository.of_working_directory()
    if here is None:
        raise failed("there is no git repository here", "go to the repository whose refs are meant")
    return here


def _shown(found: dict[str, str], options: Options) -> None:
    items = [{"ref": ref, "commit": commit} for ref, commit in found.items()]
    write_items({"items": items}, options.output, "ref", [[ref, commit] for ref, commit in found.items()])


@refs.default
@refs.command(name="list")
def list_(*, options: Options = NO_OPTIONS) -> int:
    """List the refs that tasks have left in this repository."""
    _shown({ref: commit for found in kept_refs.kept(_here()).values() for ref, commit in found.items()}, options)
    return exits.SUCCESS


@refs.command
def fetch(task: TaskArgument, /, *, job: int | None = None, options: Options = NO_OPTIONS) -> int:
    """Fetch all that a task brought back, and show under which refs: results, other branches, stashes, nested files.

    Parameters
    ----------
    job
        Only this job.
    """
    here = _here()
    name = task_id(task)
    transfer = Transfer(http(choose(options)), patience=_PATIENCE_SECONDS, limit=file_bytes())
    items = []
    for result in results.of_task(name, transfer.list(name), job):
        results.fetch(here, result, transfer)
        items += result.fetched()
    write_items({"items": items}, options.output, "ref", [[item["text"], item["command"]] for item in items])
    return exits.SUCCESS


@refs.command
def prune(*task: TaskArgument, all: bool = False, yes: bool = False, options: Options = NO_OPTIONS) -> int:
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
    here = _here()
    kept = kept_refs.kept(here)
    if task:
        kept = {name: found for name, found in kept.items() if name in {task_id(entry) for entry in task}}
    if all:
        _confirm(sum(map(len, kept.values())), yes=yes)
        chosen = kept
    else:
        client = http(choose(options))
        chosen = {name: found for name, found in kept.items() if _is_done(here, client, name, found)}
    gone = {ref: commit for found in chosen.values() for ref, commit in found.items()}
    if gone:
        kept_refs.remove(here, gone)
    _shown(gone, options)
    rest = len(kept) - len(chosen)
    talk(f"ado: {len(gone)} refs of {len(chosen)} tasks removed" + (f"; {rest} tasks keep theirs" if rest else ""))
    return exits.SUCCESS


def _confirm(count: int, *, yes: bool) -> None:
    if yes or not count:
        return
    if not is_terminal(sys.stdin):
        raise usage(f"--all removes {count} refs, also of results that are not applied", "add --yes if you mean it")
    talk(f"ado: remove {count} refs, also of results that are not applied? [y/N]")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise failed("nothing was removed", "without --all only what is applied, or has no task, is removed")


def _is_done(here: Repository, client: HttpClient, name: str, found: dict[str, str]) -> bool:
    """Whether a task is gone, or has ended and is applied here."""
    try:
        task = client.query("tasks.get", {"taskId": name})
    except CallError as error:
        if error.reason == "no_such_task":
            return True
        raise
    return task["status"] in _ENDED and kept_refs.is_applied(here, found)
