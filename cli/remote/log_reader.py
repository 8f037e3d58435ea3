"""Reading a task's log across lost connections and rewinds.

A database that fails over or is restored may lose the newest events of a log. The server then refuses the cursor with
reason ``cursor_ahead``. The reader finds the last event that both logs share, reports that later ones were lost, and
continues after it, so that it skips no event of the new log and shows none twice.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, cast

from app.rpc.client import CallError, Item
from cli.output import talk

if TYPE_CHECKING:
    from app.rpc.client import Client
    from app.rpc.client.event_stream import BlockingClient

_REMEMBERED = 10_000  # events; a failover loses a second of them


class LogReader:
    """Reads one log; ``procedure`` and ``query`` are those of the subscription, and ``last`` is the cursor."""

    def __init__(self, procedure: str, query: dict[str, Any], last: str | None = None) -> None:
        self._procedure = procedure
        self._query = query
        self._last = last
        self._seen: dict[int, str] = {}

    async def read(self, client: Client | BlockingClient) -> AsyncIterator[Item]:
        """Yield the events after the cursor until the server ends the log. Raises CallError, NoAnswer, StopReading.

        Another client may go on where one was stopped.
        """
        lost_at = None
        while True:
            try:
                if lost_at is not None:
                    self._last = str(await self._find_common(client, int(self._last or 0), lost_at))
                    lost_at = None
                async for item in client.subscribe(self._procedure, self._query, last_event_id=self._last):
                    self._remember(item)
                    self._last = item.id
                    yield item
            except CallError as error:
                if error.reason != "cursor_ahead":
                    raise
                lost_at = int(error.data.get("lastSeq", 0))
            else:
                return

    def _remember(self, item: Item) -> None:
        self._seen[item.data["seq"]] = item.data["storedAt"]
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]

    async def _find_common(self, client: Client | BlockingClient, cursor: int, end: int) -> int:
        """Return the seq after which the server's log, which ends at ``end``, differs from what was read."""
        common = min([end, *(seq - 1 for seq in list(self._seen)[:1])])
        query = {**self._query, "follow": False}
        stream = client.subscribe(self._procedure, query, last_event_id=str(common))
        async with contextlib.aclosing(cast(Any, stream)):
            async for item in stream:
                if self._seen.get(item.data["seq"]) != item.data["storedAt"]:
                    break
                common = item.data["seq"]
        self._seen = {seq: at for seq, at in self._seen.items() if seq <= common}
        if cursor > common:
            talk(f"ado: the log was rewound: the server lost events after seq {common} (restored backup or failover)")
        return common
