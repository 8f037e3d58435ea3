"""The heartbeat, which renews the worker's lease; it has a thread, because a busy event loop is no dead worker.

The server's clock decides when a lease expires; the worker only decides to stop earlier. A heartbeat lists exactly the
attempts that the worker holds. The thread sends none while the event loop has not run for ``stall_seconds``, because
such a worker is stuck. While no server can be reached, agents go on for at most ``orphan_seconds``.
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

from app.rpc.client import CallError, HttpClient, NoAnswer
from worker.settings import WorkerSettings
from worker.token import RENEWAL_SECONDS, WorkerToken

_log = logging.getLogger("ado.worker")
_TICK_SECONDS = 1.0
_GOODBYE_SECONDS = 2.0


class HeartbeatReport(NamedTuple):
    """The content of a heartbeat: the attempts that the worker holds, and why it takes no jobs, if so."""

    held: list[tuple[str, int]]
    problem: str | None = None


class Heartbeat:
    """Sends the heartbeats of one registration; answers and refusals are handled in the event loop."""

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
        """End the thread; with ``goodbye`` tell the server that the worker has ended."""
        self._ticker.cancel()
        self._stopping.set()
        await asyncio.to_thread(self._thread.join)
        if goodbye:
            await asyncio.to_thread(self._say_goodbye)
        self._client.close()
        await asyncio.gather(self._ticker, return_exceptions=True)

    def _run(self) -> None:
        wait = 0.0  # the first one at once: until then the server lets another process have this one's token
        while not self._stopping.wait(wait):
            wait = self._interval * random.uniform(0.8, 1.0)  # noqa: S311 - nothing secret depends on it
            if time.monotonic() - self._ticked_at > self._settings.stall_seconds:
                _log.error("event loop stalled", extra={"worker": self._settings.worker_id})
                continue
            try:
                self._beat()
            except Exception:  # noqa: BLE001 - if the thread ended here, every lease would expire without a message
                _log.exception("heartbeat failed", extra={"worker": self._settings.worker_id})

    def _say_goodbye(self) -> None:
        """Tell the server that the worker has ended; otherwise jobs that it has just claimed would count as lost."""
        end = time.monotonic() + _GOODBYE_SECONDS
        while not self._beat(stopped=True) and time.monotonic() < end:
            time.sleep(0.1)

    def _beat(self, *, stopped: bool = False) -> bool:
        """Send a heartbeat; return whether the server has answered it for good."""
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
                return True  # an earlier goodbye was accepted: a token for one process ends with it
            if error.code == "UNAUTHORIZED" and time.monotonic() - self._answered_at > RENEWAL_SECONDS + self._interval:
                self._hand(self._on_refusal, error.code)
                return True
            if error.reason in ("no_such_worker", "worker_replaced"):
                self._hand(self._on_refusal, error.reason)
                return True
        except NoAnswer:
            pass
        else:
            self._answered_at = time.monotonic()
            self._hand(self._on_answer, answer)
            return True
        if time.monotonic() - self._answered_at > self._settings.orphan_seconds:
            self._hand(self._on_refusal, "orphaned")
        return False

    def _renew_token(self) -> None:
        """Use the token that is in the file now; the file may be renewed long before the old token is refused."""
        if self._token.renew(self._used):
            self._used = self._token.value
            self._client.close()
            self._client = self._make_client()
            self._hand(lambda _: self._on_token(), None)

    def _hand(self, target: Callable[[Any], None], value: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(target, value)
