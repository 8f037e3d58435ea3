"""The one LISTEN connection of a replica.

It receives hints (``db.hints``); the tables are the authority. While the connection is away only time is lost: readers
poll, and after every reconnect everybody is woken once. A query every ``check_seconds`` finds a connection that the
network dropped silently, and one to a server that was demoted, where nothing is notified. The same query reads the
name of the channel on which small events travel, which changes every day.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any

import asyncpg

from db.dsn import session_options
from db.hints import parse
from db.pool import is_read_only
from db.queries import load

CHANNEL = "ado"
_log = logging.getLogger("ado.listener")


class Listener:
    """Keeps one connection on LISTEN.

    It calls ``on_hints(list)`` for every payload of hints, ``on_live(text)`` for every payload of events, and
    ``on_gap()`` after a gap and before the first payload that follows it.
    """

    def __init__(
        self,
        dsn: str,
        on_hints: Callable[[list[str]], None],
        on_gap: Callable[[], None],
        on_live: Callable[[str], None] = lambda _: None,
        *,
        check_seconds: float = 5.0,
    ) -> None:
        self._dsn = dsn
        self._on_hints = on_hints
        self._on_gap = on_gap
        self._on_live = on_live
        self._live_channel: str | None = None
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
            self._live_channel = None
            await self._follow_live_channel(connection)
            self.connected = True
            self._on_gap()
            ended = asyncio.Event()
            connection.add_termination_listener(lambda _: ended.set())
            while not ended.is_set():
                try:
                    await asyncio.wait_for(ended.wait(), self._check_seconds)
                except TimeoutError:
                    await self._follow_live_channel(connection)
                    if is_read_only(connection.get_settings()):
                        break
            raise ConnectionResetError
        finally:
            connection.terminate()

    async def _follow_live_channel(self, connection: Any) -> None:
        """Listen to the channel of small events, under its present name; where it cannot be read, to none."""
        try:
            name = await connection.fetchval(load()["live_channel"].numbered)
        except (asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedTableError):
            name = None  # the listener's DSN names another role, or another database: the health check says so
        if name == self._live_channel:
            return
        if self._live_channel is not None:
            await connection.remove_listener(self._live_channel, self._on_live_payload)
        if name is not None:
            await connection.add_listener(name, self._on_live_payload)
        self._live_channel = name

    def _on_live_payload(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        if self.connected:  # before the gap was reported, events may be of a log that has lost others
            self._on_live(str(payload))

    def _on_payload(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        self._on_hints(parse(str(payload)))
