"""What happens when the model's service refuses an attempt's agent: for its limits, or for its credential.

Another credential of the worker is tried at once. Without one, a limit is waited for: short, and the attempt waits with
its lease kept; longer than a worker is held (``ADO_QUESTION_HOLD_SECONDS``), and the job is handed back until then. An
agent that waits by itself is left to it for as long. If nobody says how long a limit lasts, the waits double.

The time in which an attempt waits counts as its own, so ``--timeout`` ends it. The time in the queue does not. An
attempt waits ``_WAITS`` times, and the server counts a job that is handed back as interrupted (``ADO_ATTEMPTS``), so no
job waits for ever.
"""

from __future__ import annotations

import asyncio
import math
import time
from asyncio import sleep
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from worker.agents.credentials import AgentCredentials
from worker.agents.delays import LONGEST_SECONDS
from worker.agents.verdict import AUTH_STATUSES, LIMIT_STATUSES, Event, Outcome

GO_ON = "The model's service had refused for its limits. It accepts again: go on with the task where you stopped."
"""The words with which a turn that had begun goes on."""
REFUSALS = frozenset({"rate_limited", "auth"})
"""Reasons of a turn that may go on, with another credential or later."""

_WAITS = 20
"""An attempt that waits more often fails: each wait ends in a request, and a service that refuses that many will not do
its work. With the shortest wait, stated anew each time, that is 20 seconds, and with unknown ones at least hours."""
_LEAST_SECONDS = 1.0
_UNKNOWN_SECONDS, _LONGEST_UNKNOWN_SECONDS = 60.0, 3600.0
_OWN_SECONDS = 5.0
"""Shorter waits of the agent itself are not worth an event of their own beside its retry."""

Report = Callable[[dict[str, Any]], object]


class RateLimits:
    """The refusals of one attempt of a claimed job; ``report`` takes its events."""

    def __init__(
        self, job: Mapping[str, Any], credentials: AgentCredentials, hold_seconds: float, report: Report
    ) -> None:
        self._agent = job["agent"]
        self._can_announce = "messages" in job  # a server of an older release refuses the event
        self._credentials = credentials
        self._hold_seconds = hold_seconds
        self._report = report
        self._waits = 0
        self._unknown = _UNKNOWN_SECONDS
        self._must_stop = False
        self._silent_since: float | None = None
        self._waits_until = 0.0
        self._noted = asyncio.Event()

    @property
    def is_waiting(self) -> bool:
        """Whether the agent waits by itself, so that it is silent for a reason."""
        return self._silent_since is not None or time.monotonic() < self._waits_until

    def begin_turn(self) -> None:
        """Note that the agent was started."""
        self._must_stop, self._silent_since, self._waits_until = False, None, 0.0

    def note(self, event: Event) -> None:
        """Note what an agent's event says of refusals."""
        if event["event"] == "retry":
            self._note_retry(event.get("status"), event)
        elif event["event"] != "other":
            self._silent_since = None
        self._noted.set()

    def _note_retry(self, status: int | None, event: Mapping[str, Any]) -> None:
        has_another = self._credentials.have_another(time.time())
        if status not in LIMIT_STATUSES:
            self._must_stop = self._must_stop or (status in AUTH_STATUSES and has_another)
            return
        delay, limit = event.get("delaySeconds"), event.get("limit")
        # claude is told to wait for any limit, and then says so for ever
        is_last = limit is not None and event["attempt"] > limit
        if has_another or is_last or (delay or 0.0) > self._hold_seconds:
            self._must_stop = True
        elif delay is None:
            self._silent_since = time.monotonic()
        else:
            self._waits_until = time.monotonic() + delay
            if delay >= _OWN_SECONDS:
                self._announce(time.time() + delay, delay)

    async def exceeded(self) -> None:
        """Wait until the agent has to be stopped: for another credential, or because it waits for too long."""
        loop = asyncio.get_running_loop()
        while not self._must_stop:
            self._noted.clear()
            left = None if self._silent_since is None else self._silent_since + self._hold_seconds - time.monotonic()
            try:
                async with asyncio.timeout_at(None if left is None else loop.time() + left):
                    await self._noted.wait()
            except TimeoutError:
                self._unknown = max(self._unknown, 2 * self._hold_seconds)
                return

    async def settle(self, refusal: Outcome, *, can_release: bool) -> Outcome | None:
        """Return how the attempt ends, or None once the turn can go on, maybe with another credential."""
        refused = self._credentials.name
        is_limit = refusal.reason == "rate_limited"
        seconds = self._seconds(refusal.after_seconds) if is_limit else math.inf
        free = self._credentials.refuse(time.time() + seconds)
        if free <= time.time():
            why = "for its limits" if is_limit else "as invalid"
            message = f"the model's service refused {refused} {why}; the agent goes on with {self._credentials.name}"
            self._report({"type": "progress", "message": message})
            return None
        if free == math.inf or self._waits >= _WAITS:
            return refusal
        self._waits += 1
        seconds = max(free - time.time(), _LEAST_SECONDS)
        self._announce(free, seconds)
        if seconds > self._hold_seconds and can_release:
            return Outcome("released", None, "rate_limit", None, seconds)
        await sleep(seconds)
        return None

    def _seconds(self, stated: float | None) -> float:
        if stated is not None:
            return min(max(stated, _LEAST_SECONDS), LONGEST_SECONDS)
        seconds, self._unknown = self._unknown, min(2 * self._unknown, _LONGEST_UNKNOWN_SECONDS)
        return seconds

    def _announce(self, until: float, seconds: float) -> None:
        event = {"type": "rate_limited", "agent": self._agent, "seconds": round(seconds, 3)}
        event["until"] = datetime.fromtimestamp(until, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        if self._can_announce:
            self._report(event | ({"credential": self._credentials.name} if self._credentials.are_several else {}))
