"""The repository of an attempt: it is prepared for the agent, and its result is sent as one commit on a branch.

The result is sent before the attempt's finish, under the attempt's fence, whatever the outcome: the changes of an agent
that failed or was cancelled may be useful.
"""

from __future__ import annotations

import asyncio
import contextlib
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from app.core.git import GitError
from app.rpc.client import CallError
from worker.agents.verdict import Outcome
from worker.output.buffer import Outbox
from worker.output.masking import NO_SECRETS, Secrets
from worker.output.wire_events import clean_text
from worker.processes.directories import AttemptDirectory
from worker.repository.checkpoint import Checkpoint, CheckpointSaver, unpack
from worker.repository.snapshot import TreeSnapshot
from worker.repository.transfers import AttemptFiles
from worker.repository.workspace import Base, JobWorkspace
from worker.settings import WorkerSettings

_REPORTED_NAMES = 20
_NAMES_BYTES = 24 * 1024
_TITLE_LENGTH = 72
_MESSAGE_CHARS = 4000


def branch_of(job: Mapping[str, Any]) -> str:
    """Return the branch of a job's result: ado/task-12, and ado/task-12-2 for the second job."""
    number = job["job"] + 1
    return f"ado/{job['taskId']}" + (f"-{number}" if number > 1 else "")


def without_session(outcome: Outcome) -> Outcome:
    """Return an outcome that says of a paused job that no session of its agent is saved; any other as it is."""
    if outcome.reason not in ("paused", "question"):
        return outcome
    return replace(outcome, message="no session of its agent could be saved, so the next attempt begins again")


class JobRepository:
    """The repository of one attempt, from its preparation to its result."""

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
        self.checkpoint: Checkpoint | None = None
        """The checkpoint of an earlier attempt, once ``prepare`` has read it."""
        self.start_dir = attempt_dir.job_dir
        """Where the agent starts."""

    def mask_with(self, secrets: Secrets) -> None:
        """Leave files with these secrets out of the result, and mask them in messages about it."""
        self._secrets = self._workspace.secrets = secrets

    async def prepare(self) -> Outcome | None:
        """Make the agent's directory; return how the attempt ends if that fails. Raises LeaseLost."""
        try:
            await self._workspace.fill()
            self.checkpoint = await self._find_checkpoint()
            await self._workspace.check_out(self.checkpoint.tree if self.checkpoint else None)
            self.start_dir = self._workspace.start_directory()
        except (GitError, CallError, OSError) as error:
            return Outcome("failed", None, "workspace", f"the repository could not be prepared: {error}")
        if self.checkpoint is not None:
            ended = "ended" if self._job.get("continues") else "was cut off"
            self._report(f"goes on where attempt {self.checkpoint.attempt} {ended}")
        return None

    async def _find_checkpoint(self) -> Checkpoint | None:
        files = await self._files.list(self._job["taskId"])
        checkpoints = [file for file in files if file["kind"] == "checkpoint" and file["job"] == self._job["job"]]
        if not checkpoints:
            return None
        archive = self._attempt_dir.base / "restored.tar.gz"
        try:
            await self._files.fetch(checkpoints[-1], archive)
            return await asyncio.to_thread(unpack, archive, self._attempt_dir, self._files.limit)
        except (ValueError, KeyError, tarfile.TarError) as error:
            self._report(f"the checkpoint cannot be used, so this attempt begins anew: {error}")
            return None

    async def send_result(self, outcome: Outcome) -> Outcome:
        """Send the result; return the outcome, which is a failure if the result could not be sent. Raises LeaseLost.

        A checkpoint is saved first, if the agent can resume from one: a released job goes on from it, and one that has
        ended continues from it when a message comes. A released job has no result.
        """
        has_session = bool((await asyncio.to_thread(self.checkpoints.session_state)).session)
        if outcome.outcome != "cancelled" and has_session:
            await self.checkpoints.save()
        if outcome.outcome == "released":
            return outcome if has_session else without_session(outcome)
        try:
            snapshot = await self._workspace.last_snapshot(
                self._bundle, f"refs/heads/{branch_of(self._job)}", self._message(), f"{self._job['agent']} (ado)"
            )
            await self._files.send(self._bundle, "result", self._description(snapshot))
            await self._send_patch()
        except (GitError, CallError, OSError) as error:
            return self._fail(outcome, f"the result could not be sent: {error}")
        self._report_result(snapshot)
        if self._base.push and snapshot.changed:
            try:
                url = await self._workspace.push(self._bundle, branch_of(self._job))
            except GitError as error:
                name = self._name()
                step = f"ado diff {name} and ado apply {name} have it"
                return self._fail(outcome, f"the branch could not be pushed ({step}): {error}")
            self._report(f"pushed {branch_of(self._job)} to {url}")
        return outcome

    async def _send_patch(self) -> None:
        """Send the changes for the dashboard to show. The result has them too, so a refusal fails nothing."""
        patch = self._workspace.patch
        if patch == b"":
            return
        path = self._attempt_dir.base / "patch"
        with contextlib.suppress(CallError, OSError):  # a server of an older release knows no patches
            await asyncio.to_thread(path.write_bytes, patch or b"")
            await self._files.send(path, "patch", {"cut": patch is None})

    def _fail(self, outcome: Outcome, message: str) -> Outcome:
        self._report(message)
        return outcome if outcome.outcome != "succeeded" else Outcome("failed", outcome.exit_code, "workspace", message)

    def _message(self) -> str:
        job = self._job
        lines = job["prompt"].strip().splitlines() or [""]
        title = lines[0] if len(lines[0]) <= _TITLE_LENGTH else lines[0][: _TITLE_LENGTH - 1] + "…"
        return f"{title}\n\n{job['jobId']}, attempt {job['attempt']}, agent {job['agent']}\n"

    def _description(self, snapshot: TreeSnapshot) -> dict[str, Any]:
        return {
            "branch": branch_of(self._job),
            "commit": snapshot.commit,
            "base": snapshot.base,
            "whole": self._base.is_empty,
            "files": snapshot.files,
            "added": snapshot.added,
            "removed": snapshot.removed,
            "leftOut": self._names_that_fit(snapshot.left_out),
            "extras": [
                {**asdict(extra), "text": self._secrets.mask_text(extra.text)}
                for extra in self._workspace.extras.commits
            ],
        }

    def _names_that_fit(self, names: Sequence[str]) -> list[str]:
        """Return as many masked names as fit into the description of a file."""
        fitting, left = [], _NAMES_BYTES
        for name in map(self._secrets.mask_text, names):
            left -= 2 * len(name.encode("utf-8", "replace")) + 4  # a quotation mark takes two bytes in JSON
            if left < 0:
                break
            fitting.append(name)
        return fitting

    def _report_result(self, snapshot: TreeSnapshot) -> None:
        for name in snapshot.left_out[:_REPORTED_NAMES]:
            self._report(f"left out: {name}")
        if len(snapshot.left_out) > _REPORTED_NAMES:
            self._report(f"left out: {len(snapshot.left_out) - _REPORTED_NAMES} more")
        if extras := self._workspace.extras.commits:
            listed = ", ".join(extra.text for extra in extras[:_REPORTED_NAMES])
            more = f" and {len(extras) - _REPORTED_NAMES} more" if len(extras) > _REPORTED_NAMES else ""
            self._report(f"also returned: {listed}{more}; get them with: ado refs fetch {self._name()}")
        if not snapshot.changed:
            self._report(
                "no change was returned" if snapshot.left_out else "nothing was changed, so there is no branch"
            )
            return
        files = f"{snapshot.files} {'file' if snapshot.files == 1 else 'files'}"
        counts = f"{files} +{snapshot.added} −{snapshot.removed}"  # noqa: RUF001 - a minus
        name, branch = self._name(), branch_of(self._job)
        self._report(f"{counts}; ado diff {name}, ado apply {name}, or for the branch {branch}: ado checkout {name}")

    def _name(self) -> str:
        """Return the job as arguments of a command."""
        job = self._job
        return str(job["taskId"]) + (f" --job {job['job']}" if job["workers"] > 1 else "")

    def _report(self, message: str) -> None:
        message = self._secrets.mask_text(message)
        self._outbox.put({"type": "progress", "message": clean_text(message, _MESSAGE_CHARS)})
