"""Reports problems of the server while a watched task writes nothing."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from app.rpc.client import CallError, NoAnswer

if TYPE_CHECKING:
    from app.rpc.client import Client
    from app.rpc.client.event_stream import BlockingClient

_QUIET_SECONDS = 5.0
_AGAIN_SECONDS = 10.0  # a thousand viewers cost a replica a hundred requests a second


class IdleHealthCheck:
    """Asks the server for its problems while no event arrives, and reports each once."""

    def __init__(self, talk: Callable[[str], None]) -> None:
        self._talk = talk
        self._began_at = self._last_event_at = time.monotonic()
        self._reported = ""

    def note_event(self) -> None:
        """Note that an event arrived."""
        self._last_event_at = time.monotonic()

    async def watch(self, client: Client) -> None:
        """Report a problem of the server's database, and its end, until cancelled."""
        import asyncio  # not for a reader that blocks

        pause = self._began_at + _QUIET_SECONDS - time.monotonic()
        while True:
            await asyncio.sleep(pause)
            pause = _AGAIN_SECONDS * random.uniform(0.8, 1.2)  # noqa: S311
            if time.monotonic() - self._last_event_at < _QUIET_SECONDS and not self._reported:
                continue
            await self.look(client)

    async def look(self, client: Client | BlockingClient) -> None:
        """Report a problem of the server's database, or its end."""
        with contextlib.suppress(CallError, NoAnswer):
            self._report((await client.query("system.health"))["problems"].get("database", ""))

    def _report(self, problem: str) -> None:
        if problem and problem != self._reported:
            until = "nothing new comes until that is over, and nothing is lost"
            self._talk(f"ado: the server's database {problem}; {until}")
        elif self._reported and not problem:
            self._talk("ado: the server's database takes writes again")
        self._reported = problem
