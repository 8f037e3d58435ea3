"""The repository that ``ado run`` sends. Git and what packs commits are imported only if there is one to send."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from app.rpc.client import HttpClient
from cli.agents import is_ai
from cli.errors import nearest, usage
from cli.output import talk
from cli.remote.listing import workers_status
from cli.run_options import RepositoryOptions

if TYPE_CHECKING:
    from app.rpc.client import Transfer
    from cli.repository.git import Repository
    from cli.repository.outgoing import OutgoingCommit

_PATIENCE_SECONDS = 60.0
_GIT_CAPABILITY = "git:"


class SentRepository(NamedTuple):
    """What was sent of a repository: the workspace of tasks.create, the capabilities it needs, and what to keep."""

    workspace: Mapping[str, Any] | None
    requires: tuple[str, ...] = ()
    outgoing: OutgoingCommit | None = None

    def keep(self, task_id: str) -> None:
        """Keep the commit that was sent, under the task's name."""
        if self.outgoing is not None:
            self.outgoing.keep(task_id)


def find(options: RepositoryOptions, agents: Sequence[str | None]) -> Repository | None:
    """Return the repository of the working directory if the options or an AI agent ask for it. Raises CliError."""
    needing = options.dirty or options.push or options.bring or options.caches
    if options.repo is False and needing:
        raise usage("--dirty, --push, --bring and --cache need the repository", "leave out --no-repo")
    is_asked = options.repo or needing
    if options.repo is False or not (is_ai(agents) or is_asked):
        return None
    from cli.repository.git import Repository, check_version, failed

    check_version()
    local = Repository.of_working_directory()
    if local is None and is_asked:
        raise failed(
            "there is no git repository here", "go to one, or leave out --repo, --dirty, --push, --bring and --cache"
        )
    return local


def send(
    client: HttpClient, options: RepositoryOptions, agents: Sequence[str], local: Repository | None
) -> SentRepository:
    """Send a repository; without one an AI agent gets an empty directory, unless it is not to. Raises CliError."""
    if local is None:
        return SentRepository({} if is_ai(agents) and options.repo is None else None)
    from dataclasses import replace

    from app.core.git import host_of
    from cli.repository import outgoing as repository
    from cli.repository.brought import brought_files
    from cli.repository.git import failed

    caches = _caches(options.caches or [], local)
    outgoing = repository.prepare(local, dirty=options.dirty, notify=lambda text: talk(f"ado: {text}"))
    outgoing = repository.fetchable(outgoing, _git_hosts(client, agents))
    if options.push and outgoing.remote is None:
        raise failed(
            "no worker may push to this repository's remote",
            "the upstream branch must be on a host that is in the workers' ADO_GIT_HOSTS; without --push ado returns "
            "the branch itself",
        )
    with brought_files(local, options.bring or (), len(outgoing.commit)) as brought:
        outgoing = replace(outgoing, brought=brought)
        file_id = repository.send(outgoing, transfer_over(client))
    requires = (_GIT_CAPABILITY + host_of(outgoing.remote.url),) if outgoing.remote else ()
    return SentRepository({**outgoing.workspace(file_id, push=options.push), **caches}, requires, outgoing)


def _caches(names: list[str], local: Repository) -> dict[str, Any]:
    """Return members of a workspace: the caches, which only jobs of this repository's copy share. Raises CliError."""
    import hashlib
    import platform

    from app.core.caches import CACHES

    for name in names:
        if name not in CACHES:
            raise usage(f"there is no cache {name!r}{nearest(name, list(CACHES))}", f"there are {', '.join(CACHES)}")
    copy = f"{platform.node()}\0{local.git_dir}"
    key = hashlib.sha256(copy.encode("utf-8", "surrogateescape")).hexdigest()
    return {"caches": names, "cacheKey": key} if names else {}


def _git_hosts(client: HttpClient, agents: Sequence[str]) -> frozenset[str]:
    """Return the hosts that every live worker with one of the agents fetches from."""
    live = [
        {name.removeprefix(_GIT_CAPABILITY) for name in worker["capabilities"] if name.startswith(_GIT_CAPABILITY)}
        for worker in workers_status(client)["workers"]
        if worker["state"] in ("starting", "idle", "busy") and not set(agents).isdisjoint(worker["capabilities"])
    ]
    return frozenset(set.intersection(*live)) if live else frozenset()


def transfer_over(client: HttpClient) -> Transfer:
    """Return what sends and fetches files of repositories."""
    from app.rpc.client import Transfer
    from cli.repository.size_limits import file_bytes

    return Transfer(client, patience=_PATIENCE_SECONDS, limit=file_bytes())
