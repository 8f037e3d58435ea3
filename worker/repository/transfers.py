"""The files of an attempt, transferred in a thread and over separate connections, so heartbeats and output go on.

A transfer waits for a lost connection as long as the attempt lives; ``lease_lost`` ends it. The calls use the attempt's
credential, which ends with the attempt. A server of an older release gives none; then they use the worker's token.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from app.rpc.client import CallError, HttpClient, Transfer
from app.rpc.client.tls import SYSTEM, Trust
from worker.output.batches import LOST, LeaseLost
from worker.token import WorkerToken

T = TypeVar("T")
_CALL_SECONDS = 30.0


class AttemptFiles:
    """The files of one attempt; ``limit`` is the largest that the server takes, in bytes."""

    def __init__(
        self, urls: Sequence[str], token: WorkerToken, fence: Mapping[str, Any], limit: int, trust: Trust = SYSTEM
    ) -> None:
        self._urls = urls
        self._trust = trust
        self._token = token
        self._credential: str | None = fence.get("credential")
        self._fence = {name: value for name, value in fence.items() if name != "credential"}
        self.limit = limit

    async def list(self, task_id: str) -> list[dict[str, Any]]:
        """Return the task's files. Raises LeaseLost, CallError."""
        return await self._run(lambda transfer: transfer.list(task_id))

    async def fetch(self, file: dict[str, Any], path: Path) -> None:
        """Download a file. Raises LeaseLost, CallError, ValueError."""
        await self._run(lambda transfer: transfer.fetch(file, path))

    async def send(self, path: Path, kind: str, about: Mapping[str, Any]) -> None:
        """Upload a file of the attempt; it is valid once this returns. Raises LeaseLost, CallError."""
        await self._run(lambda transfer: transfer.send(path, kind=kind, about=dict(about), **self._fence))

    async def _run(self, work: Callable[[Transfer], T]) -> T:
        """Run a transfer, and again with a renewed token if the server refuses the token."""
        while True:
            used = self._credential or self._token.value
            try:
                return await self._transfer(work, used)
            except CallError as error:
                if error.reason in LOST or (self._credential and error.code == "UNAUTHORIZED"):
                    raise LeaseLost from error
                if error.code != "UNAUTHORIZED" or not self._token.renew(used):
                    raise

    async def _transfer(self, work: Callable[[Transfer], T], token: str) -> T:
        """Run a transfer in a thread; when it is cancelled, the thread ends at its next piece."""
        client = HttpClient(self._urls, token, timeout=_CALL_SECONDS, trust=self._trust)
        transfer = Transfer(client, patience=math.inf, limit=self.limit)

        def work_and_close() -> T:
            try:
                return work(transfer)
            finally:
                client.close()

        try:
            return await asyncio.to_thread(work_and_close)
        finally:
            transfer.stop()
