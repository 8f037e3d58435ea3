"""The heartbeat: a thread of its own, so that a busy event loop does not look like a dead worker.

Authority is the server's clock; this side only decides to stop early. The thread stops beating when the event loop
has not ticked for ``stall_seconds``, because such a worker is not alive. It lists exactly the attempts the worker
holds. While no server can be reached the agents go on, at most ``orphan_seconds``.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from app.rpc.client import CallError, HttpClient, Unreachable
from worker.settings import WorkerSettings
from worker.token import RENEWAL_SECONDS, WorkerToken

_log = logging.getLogger("ado.worker")
_TICK_SECONDS = 1.0
_GOODBYE_SECONDS = 2.0


class HeartbeatReport(NamedTuple):
    """What a heartbeat tells: the attempts that the worker holds, and why it takes no jobs, if it does not."""

    held: list[tuple[str, int]]
    problem: str | None = None


class Heartbeat:
    """Beats for one registration; answers and refusals are handed to the event loop."""

    def __init__(
        self,
        settings: WorkerSettings,
        token: WorkerToken,
        registration: dict[str, Any],
        report: Callable[[], HeartbeatReport],
        on_answer: Callable[[dict[str, Any]], None],
        on_refusal: Callable[[str], None],
        on_token: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._session = registration["session"]
        self._interval = float(registration["heartbeatSeconds"])
        self._token = token
        self._used = token.value
        self._client = self._make_client()
        self._report = report
        self._on_answer = on_answer
        self._on_refusal = on_refusal
        self._on_token = on_token
        self._loop = asyncio.get_running_loop()
        self._ticked_at = time.monotonic()
        self._answered_at = time.monotonic()
        self._stopping = threading.Event()
        self._ticker = asyncio.create_task(self._tick(), name="heartbeat tick")
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    def _make_client(self) -> HttpClient:
        timeout = max(1.0, min(10.0, self._interval * 2))
        return HttpClient(self._settings.url, self._used, timeout=timeout, trust=self._settings.trust)

    async def _tick(self) -> None:
        while True:
            self._ticked_at = time.monotonic()
            await asyncio.sleep(_TICK_SECONDS)

    async def stop(self, *, goodbye: bool) -> None:
        """End the thread; with ``goodbye`` the server is told that the worker has ended."""
        self._ticker.cancel()
        self._stopping.set()
        await asyncio.to_thread(self._thread.join)
        if goodbye:
            await asyncio.to_thread(self._say_goodbye)
        self._client.close()
        await asyncio.gather(self._ticker, return_exceptions=True)

    def _run(self) -> None:
        while not self._stopping.wait(self._interval * random.uniform(0.8, 1.0)):  # noqa: S311
            if time.monotonic() - self._ticked_at > self._settings.stall_seconds:
                _log.error("event loop stalled", extra={"worker": self._settings.worker_id})
                continue
            try:
                self._beat()
            except Exception:  # noqa: BLE001 - a thread that ended here would cost every lease, in silence
                _log.exception("heartbeat failed", extra={"worker": self._settings.worker_id})

    def _say_goodbye(self) -> None:
        """Tell the server that the worker has ended; unheard, what it was just given would count as lost."""
        end = time.monotonic() + _GOODBYE_SECONDS
        while not self._beat(stopped=True) and time.monotonic() < end:
            time.sleep(0.1)

    def _beat(self, *, stopped: bool = False) -> bool:
        """Beat once; return whether the server has taken it or knows better."""
        self._renew_token()
        held, problem = self._report()
        jobs = [{"jobId": job, "attempt": attempt} for job, attempt in held]
        value = {
            "workerId": self._settings.worker_id,
            "session": self._session,
            "jobs": jobs,
            "load": {"problem": problem} if problem else None,
            "at": datetime.now(UTC).isoformat(),
            "stopped": stopped,
        }
        try:
            answer = self._client.mutate("workers.heartbeat", value, resend=True)
        except CallError as error:
            if error.code == "UNAUTHORIZED" and stopped:
                return True  # heard before: a token that serves one process ends with it
            if error.code == "UNAUTHORIZED" and time.monotonic() - self._answered_at > RENEWAL_SECONDS + self._interval:
                self._hand(self._on_refusal, error.code)
                return True
            if error.reason in ("no_such_worker", "worker_replaced"):
                self._hand(self._on_refusal, error.reason)
                return True
        except Unreachable:
            pass
        else:
            self._answered_at = time.monotonic()
            self._hand(self._on_answer, answer)
            return True
        if time.monotonic() - self._answered_at > self._settings.orphan_seconds:
            self._hand(self._on_refusal, "orphaned")
        return False

    def _renew_token(self) -> None:
        """Use the token that the file holds now; it may be renewed long before the old one is refused."""
        if self._token.renew(self._used):
            self._used = self._token.value
            self._client.close()
            self._client = self._make_client()
            self._hand(lambda _: self._on_token(), None)

    def _hand(self, target: Callable[[Any], None], value: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(target, value)
