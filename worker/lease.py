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
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from app.rpc.client import CallError, HttpClient, NoAnswer
from worker.settings import WorkerSettings
from worker.token import RENEWAL_SECONDS, WorkerToken

_log = logging.getLogger("ado.worker")
_TICK_SECONDS = 1.0
_GOODBYE_SECONDS = 2.0
_GOODBYE_PAUSE_SECONDS = 0.1
_FOR_GOOD = ("no_such_worker", "worker_replaced")


class HeartbeatReport(NamedTuple):
    """The content of a heartbeat: the attempts that the worker holds, and why it takes no jobs, if so."""

    held: list[tuple[str, int]]
    problem: str | None = None


def waits(interval: float) -> Iterator[float]:
    """Yield the seconds before each heartbeat."""
    yield 0.0  # the first one at once: until then the server lets another process have this one's token
    while True:
        yield interval * random.uniform(0.8, 1.0)  # noqa: S311 - nothing secret depends on it


def answer_seconds(interval: float) -> float:
    """Return how long the answer to a heartbeat is waited for."""
    return max(1.0, min(10.0, interval * 2))


def refusal_of(error: CallError | None, *, silence: float, interval: float, orphan_seconds: float) -> str | None:
    """Return why the worker gives up its jobs after a heartbeat that was not accepted; None: it continues.

    ``error`` is None if no server answered. ``silence`` is the time since the last heartbeat that was accepted.
    """
    if error is not None:
        if error.code == "UNAUTHORIZED" and silence > RENEWAL_SECONDS + interval:
            return error.code
        if error.reason in _FOR_GOOD:
            return error.reason
    return "orphaned" if silence > orphan_seconds else None


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
        clock: Callable[[], float] = time.monotonic,
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
        self._clock = clock
        self._ticked_at = self._answered_at = clock()
        self._stopping = threading.Event()
        self._ticker = asyncio.create_task(self._tick(), name="heartbeat tick")
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    def _make_client(self) -> HttpClient:
        timeout = answer_seconds(self._interval)
        return HttpClient(self._settings.url, self._used, timeout=timeout, trust=self._settings.trust)

    async def _tick(self) -> None:
        while True:
            self._ticked_at = self._clock()
            await asyncio.sleep(_TICK_SECONDS)

    async def stop(self, *, goodbye: bool) -> None:
        """End the thread; with ``goodbye`` tell the server that the worker has ended."""
        self._ticker.cancel()
        self._stopping.set()
        await asyncio.to_thread(self._thread.join)
        if goodbye:
            await asyncio.to_thread(self._say_goodbye)
        self._client.close()

    def _run(self) -> None:
        for wait in waits(self._interval):
            if self._stopping.wait(wait):
                return
            if self._clock() - self._ticked_at > self._settings.stall_seconds:
                _log.error("event loop stalled", extra={"worker": self._settings.worker_id})
                continue
            try:
                self._beat()
            except Exception:  # noqa: BLE001 - if the thread ended here, every lease would expire without a message
                _log.exception("heartbeat failed", extra={"worker": self._settings.worker_id})

    def _say_goodbye(self) -> None:
        """Tell the server that the worker has ended; otherwise jobs that it has just claimed would count as lost."""
        end = self._clock() + _GOODBYE_SECONDS
        while not self._beat(stopped=True) and self._clock() < end:
            time.sleep(_GOODBYE_PAUSE_SECONDS)

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
        refused: CallError | None = None
        try:
            answer = self._client.mutate("workers.heartbeat", value, resend=True)
        except CallError as error:
            refused = error
        except NoAnswer:
            pass
        else:
            self._answered_at = self._clock()
            self._hand(self._on_answer, answer)
            return True
        if stopped and refused is not None and refused.code == "UNAUTHORIZED":
            return True  # an earlier goodbye was accepted: a token for one process ends with it
        silence, orphan_seconds = self._clock() - self._answered_at, self._settings.orphan_seconds
        reason = refusal_of(refused, silence=silence, interval=self._interval, orphan_seconds=orphan_seconds)
        if reason is not None:
            self._hand(self._on_refusal, reason)
        return reason is not None

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
