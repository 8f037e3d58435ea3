"""What a job's directory begins with, as tasks.create takes it."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta

from app.core.reasons import refusal
from app.shapes.records import Wire

Name = Annotated[str, Meta(min_length=1, max_length=200)]
CommitId = Annotated[str, Meta(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$")]


class Remote(Wire):
    """Where workers fetch the commits that the bundle lacks: ``commit`` is on ``ref`` of the repository at ``url``.

    Without a commit there is no bundle, and each job starts from the newest commit of ``ref``.
    """

    url: Annotated[str, Meta(min_length=1, max_length=2000, pattern=r"^(https|ssh)://[^\s]+$")]
    commit: CommitId | None = None
    ref: Annotated[str, Meta(max_length=500, pattern=r"^refs/[^\s]+$")] | None = None


class Workspace(Wire):
    """What a job's directory begins with: nothing, or a commit and the file with the objects that it needs."""

    file_id: Annotated[str, Meta(max_length=100)] | None = None
    commit: CommitId | None = None
    branch: Annotated[str, Meta(max_length=500)] | None = None
    shallow: Annotated[list[CommitId], Meta(max_length=10_000)] = []
    remote: Remote | None = None
    push: bool = False
    directory: Annotated[str, Meta(max_length=4096)] | None = None
    """The directory where the agent starts, relative to the repository's top."""
    brought: CommitId | None = None
    """A commit in the same file whose files are added to the directory, and are no part of the result."""
    caches: Annotated[list[Name], Meta(max_length=20)] = []
    """Caches of package managers that the job gets, if its worker keeps any: npm, pip, uv, cargo."""
    cache_key: Name | None = None
    """Jobs of one user with the same key share caches."""


def check_workspace(workspace: Workspace) -> None:
    """Raise BAD_REQUEST for a directory that leads out, and for a remote without a commit or with credentials."""
    if ".." in (directory := workspace.directory or "").split("/"):
        raise refusal(
            "invalid_input", f"workspace.directory: {directory[:100]!r} leads out", field="workspace.directory"
        )
    if workspace.remote is None:
        return
    if workspace.remote.commit is None and (workspace.file_id or workspace.commit or not workspace.remote.ref):
        text = "workspace.remote: without a commit it needs a ref, and the workspace has neither commit nor fileId"
        raise refusal("invalid_input", text, field="workspace.remote")
    parts = urlsplit(workspace.remote.url)
    if parts.password or (parts.scheme == "https" and parts.username):
        raise refusal("invalid_input", "workspace.remote.url: it carries credentials", field="workspace.remote.url")
