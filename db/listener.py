"""The one LISTEN connection of a replica.

It receives hints (``db.hints``); the tables are the authority. While the connection is away only time is lost: readers
poll, and after every reconnect everybody is woken once. A query every ``check_seconds`` finds a connection that the
network dropped silently, and one to a server that was demoted, where nothing is notified.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

import asyncpg

from db.dsn import session_options
from db.hints import parse
from db.pool import is_read_only

CHANNEL = "ado"
_log = logging.getLogger("ado.listener")


class Listener:
    """Keeps one connection on LISTEN; calls ``on_hints(list)`` for every payload and ``on_gap()`` after a gap."""

    def __init__(
        self,
        dsn: str,
        on_hints: Callable[[list[str]], None],
        on_gap: Callable[[], None],
        *,
        check_seconds: float = 5.0,
    ) -> None:
        self._dsn = dsn
        self._on_hints = on_hints
        self._on_gap = on_gap
        self._check_seconds = check_seconds
        self.connected = False

    async def run(self) -> None:
        """Listen until cancelled, reconnecting with back-off and jitter, whatever goes wrong."""
        failures = 0
        while True:
            try:
                await self._listen()
            except Exception as error:  # noqa: BLE001 - a server that is killed makes the driver fail in many ways
                if self.connected:
                    _log.warning("listener lost", extra={"error": type(error).__name__})
                    failures = 0
                self.connected = False
            failures += 1
            await asyncio.sleep(random.uniform(0.05, min(5.0, 0.1 * 2 ** min(failures, 6))))  # noqa: S311

    async def _listen(self) -> None:
        connection = await asyncpg.connect(
            self._dsn,
            timeout=10,
            command_timeout=self._check_seconds,
            statement_cache_size=0,
            **session_options(self._dsn),
            server_settings={"application_name": "ado-listen"},
        )
        try:
            await connection.add_listener(CHANNEL, self._on_payload)
            self.connected = True
            self._on_gap()
            ended = asyncio.Event()
            connection.add_termination_listener(lambda _: ended.set())
            while not ended.is_set():
                try:
                    await asyncio.wait_for(ended.wait(), self._check_seconds)
                except TimeoutError:
                    await connection.execute("select 1")
                    if is_read_only(connection.get_settings()):
                        break
            raise ConnectionResetError
        finally:
            connection.terminate()

    def _on_payload(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        self._on_hints(parse(str(payload)))
