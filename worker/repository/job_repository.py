"""What an attempt brings back: one commit on a branch of the task's name, told as it is.

It is sent before the attempt's finish, under the attempt's fence, whatever the outcome: the work of an agent that
failed or was cancelled is work as well.
"""

from __future__ import annotations

import asyncio
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from app.core.git import GitError
from app.rpc.client import CallError
from worker.agents.base import Outcome
from worker.output.buffer import Outbox
from worker.output.masking import NO_SECRETS, Secrets
from worker.output.wire_events import clean_text
from worker.processes.directories import AttemptDirectory
from worker.repository.checkpoint import Checkpoint, CheckpointSaver, unpack
from worker.repository.snapshot import TreeSnapshot
from worker.repository.transfers import AttemptFiles
from worker.repository.workspace import Base, JobWorkspace
from worker.settings import WorkerSettings

_TOLD_NAMES = 20
_NAMES_BYTES = 24 * 1024
_TITLE_LENGTH = 72
_MESSAGE_CHARS = 4000


def branch_of(job: Mapping[str, Any]) -> str:
    """Return the branch that a job's work comes home on: ado/task-12, and ado/task-12-2 for the second job."""
    number = job["job"] + 1
    return f"ado/{job['taskId']}" + (f"-{number}" if number > 1 else "")


class JobRepository:
    """The repository of one attempt, from its laying out to its result."""

    def __init__(
        self,
        job: Mapping[str, Any],
        attempt_dir: AttemptDirectory,
        files: AttemptFiles,
        outbox: Outbox,
        settings: WorkerSettings,
    ) -> None:
        self._job = job
        self._attempt_dir = attempt_dir
        self._files = files
        self._outbox = outbox
        self._secrets = NO_SECRETS
        self._bundle = attempt_dir.base / "result.bundle"
        self._base = Base.of(job["workspace"])
        self._workspace = JobWorkspace(attempt_dir, self._base, files, job["taskId"], settings.fetches_from)
        seconds = settings.checkpoint_seconds
        self.checkpoints = CheckpointSaver(attempt_dir, files, self._workspace, outbox, job["attempt"], seconds)
        self.saved: Checkpoint | None = None
        """Where an earlier attempt stood, once the repository is laid out."""
        self.directory = attempt_dir.job_dir
        """Where the agent starts."""

    def mask_with(self, secrets: Secrets) -> None:
        """Leave files with these secrets out of what comes home, and mask what is told of it."""
        self._secrets = self._workspace.secrets = secrets

    async def lay(self) -> Outcome | None:
        """Lay the repository out; return how the attempt ends when that fails. Raises LeaseLost."""
        try:
            await self._workspace.fill()
            self.saved = await self._find_saved()
            await self._workspace.lay(self.saved.tree if self.saved else None)
            self.directory = self._workspace.start_directory()
        except (GitError, CallError, OSError) as error:
            return Outcome("failed", None, "workspace", f"the repository could not be laid out: {error}")
        if self.saved is not None:
            self._tell(f"goes on where attempt {self.saved.attempt} was cut off")
        return None

    async def _find_saved(self) -> Checkpoint | None:
        files = await self._files.list(self._job["taskId"])
        found = [file for file in files if file["kind"] == "checkpoint" and file["job"] == self._job["job"]]
        if not found:
            return None
        archive = self._attempt_dir.base / "restored.tar.gz"
        try:
            await self._files.fetch(found[-1], archive)
            return await asyncio.to_thread(unpack, archive, self._attempt_dir, self._files.limit)
        except (ValueError, KeyError, tarfile.TarError) as error:
            self._tell(f"the checkpoint cannot be used, so this attempt begins anew: {error}")
            return None

    async def bring(self, outcome: Outcome) -> Outcome:
        """Send the result; return the outcome, which is a failure when work could not be sent. Raises LeaseLost.

        What is handed back is saved instead, if it can be gone on with.
        """
        if outcome.outcome == "released":
            if (await asyncio.to_thread(self.checkpoints.session_state)).session:
                await self.checkpoints.save()
            return outcome
        try:
            snapshot = await self._workspace.last_snapshot(
                self._bundle, f"refs/heads/{branch_of(self._job)}", self._message(), f"{self._job['agent']} (ado)"
            )
            await self._files.send(self._bundle, "result", self._about(snapshot))
        except (GitError, CallError, OSError) as error:
            return self._fail(outcome, f"what was done could not be brought back: {error}")
        self._tell_result(snapshot)
        if self._base.push and snapshot.changed:
            try:
                url = await self._workspace.push(self._bundle, branch_of(self._job))
            except GitError as error:
                name = self._name()
                there = f"ado diff {name} and ado apply {name} have it"
                return self._fail(outcome, f"the branch could not be pushed ({there}): {error}")
            self._tell(f"pushed {branch_of(self._job)} to {url}")
        return outcome

    def _fail(self, outcome: Outcome, message: str) -> Outcome:
        self._tell(message)
        return outcome if outcome.outcome != "succeeded" else Outcome("failed", outcome.exit_code, "workspace", message)

    def _message(self) -> str:
        job = self._job
        lines = job["prompt"].strip().splitlines() or [""]
        title = lines[0] if len(lines[0]) <= _TITLE_LENGTH else lines[0][: _TITLE_LENGTH - 1] + "…"
        return f"{title}\n\n{job['jobId']}, attempt {job['attempt']}, agent {job['agent']}\n"

    def _about(self, snapshot: TreeSnapshot) -> dict[str, Any]:
        return {
            "branch": branch_of(self._job),
            "commit": snapshot.commit,
            "base": snapshot.base,
            "whole": self._base.commit is None,
            "files": snapshot.files,
            "added": snapshot.added,
            "removed": snapshot.removed,
            "leftOut": self._some(snapshot.left_out),
            "extras": [
                {**asdict(extra), "text": self._secrets.mask_text(extra.text)} for extra in self._workspace.extras.found
            ],
        }

    def _some(self, names: Sequence[str]) -> list[str]:
        """Return as many names as the description of a file may hold."""
        found, left = [], _NAMES_BYTES
        for name in map(self._secrets.mask_text, names):
            left -= 2 * len(name.encode("utf-8", "replace")) + 4  # in JSON a quotation mark takes two
            if left < 0:
                break
            found.append(name)
        return found

    def _tell_result(self, snapshot: TreeSnapshot) -> None:
        for name in snapshot.left_out[:_TOLD_NAMES]:
            self._tell(f"left out: {name}")
        if len(snapshot.left_out) > _TOLD_NAMES:
            self._tell(f"left out: {len(snapshot.left_out) - _TOLD_NAMES} more")
        if extras := self._workspace.extras.found:
            kept = ", ".join(extra.text for extra in extras[:_TOLD_NAMES])
            more = f" and {len(extras) - _TOLD_NAMES} more" if len(extras) > _TOLD_NAMES else ""
            self._tell(f"also came home: {kept}{more}; get them with: ado refs fetch {self._name()}")
        if not snapshot.changed:
            self._tell("no change came home" if snapshot.left_out else "nothing was changed, so there is no branch")
            return
        files = f"{snapshot.files} {'file' if snapshot.files == 1 else 'files'}"
        counts = f"{files} +{snapshot.added} −{snapshot.removed}"  # noqa: RUF001 - a minus
        name, branch = self._name(), branch_of(self._job)
        self._tell(f"{counts}; ado diff {name}, ado apply {name}, or for the branch {branch}: ado checkout {name}")

    def _name(self) -> str:
        """Return how commands name the job."""
        job = self._job
        return str(job["taskId"]) + (f" --job {job['job']}" if job["workers"] > 1 else "")

    def _tell(self, message: str) -> None:
        message = self._secrets.mask_text(message)
        self._outbox.put({"type": "progress", "message": clean_text(message, _MESSAGE_CHARS)})
