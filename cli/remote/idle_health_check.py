"""What is said while a watched task is silent: what is wrong with the server."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable

from app.rpc.client import CallError, Client, Unreachable

_QUIET_SECONDS = 5.0
_AGAIN_SECONDS = 10.0  # with a thousand viewers a replica answers a hundred such questions a second


class IdleHealthCheck:
    """Asks the server what is wrong with it while nothing comes, and says so once."""

    def __init__(self, talk: Callable[[str], None]) -> None:
        self._talk = talk
        self._heard_at = time.monotonic()
        self._said = ""

    def note_event(self) -> None:
        """Take note that an event came."""
        self._heard_at = time.monotonic()

    async def watch(self, client: Client) -> None:
        """Say what is wrong with the server's database, and when it is over, until cancelled."""
        pause = _QUIET_SECONDS
        while True:
            await asyncio.sleep(pause)
            pause = _AGAIN_SECONDS * random.uniform(0.8, 1.2)  # noqa: S311
            if time.monotonic() - self._heard_at < _QUIET_SECONDS and not self._said:
                continue
            with contextlib.suppress(CallError, Unreachable):
                self._say((await client.query("system.health"))["problems"].get("database", ""))

    def _say(self, problem: str) -> None:
        if problem and problem != self._said:
            until = "nothing new comes until that is over, and nothing is lost"
            self._talk(f"ado: the server's database {problem}; {until}")
        elif self._said and not problem:
            self._talk("ado: the server's database takes writes again")
        self._said = problem
