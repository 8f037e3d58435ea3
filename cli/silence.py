"""What is said while a watched task is silent: what is wrong with the server."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time

from app.rpc.client import CallError, Client, Unreachable
from cli.output import talk

_QUIET_SECONDS = 5.0
_AGAIN_SECONDS = 10.0  # with a thousand viewers a replica answers a hundred such questions a second


class Silence:
    """Asks the server what is wrong with it while nothing comes, and says so once."""

    def __init__(self) -> None:
        self._heard_at = time.monotonic()
        self._said = ""

    def heard(self) -> None:
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
            talk(f"ado: the server's database {problem}; nothing new comes until that is over, and nothing is lost")
        elif self._said and not problem:
            talk("ado: the server's database takes writes again")
        self._said = problem
