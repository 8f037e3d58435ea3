"""Writes refused calls into the audit, with a limit of rows and of memory.

Each caller has an allowance of rows, which grows slowly. Within it every refusal becomes a row. Beyond it, equal
refusals are counted, and one row has their number. Unknown callers share one allowance, because new addresses cost
them nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from db import audit
from db.audit import Refusal
from db.database import Database
from db.errors import DatabaseUnavailable

_log = logging.getLogger("ado.audit")
_BURST = 30
"""Rows of a caller without recent refusals."""
_ROW_SECONDS = 20.0
"""Time in which an allowance grows by one row: 4,320 rows a day for each caller and replica."""
_CALLERS = 1000
"""Callers with an allowance of their own; all further ones share one."""
_KINDS = 50
"""Kinds of refusals that are counted apart for one caller; further kinds are counted by reason only."""
_WAIT_SECONDS = 5.0
_UNKNOWN = ""
_OTHERS = "*"


@dataclass(slots=True)
class _Caller:
    token_id: str | None
    """None for callers that share an allowance."""
    allowance: float
    seen_at: float
    waiting: Counter[Refusal] = field(default_factory=Counter)

    def grow(self, now: float) -> None:
        self.allowance = min(_BURST, self.allowance + (now - self.seen_at) / _ROW_SECONDS)
        self.seen_at = now

    def count(self, refusal: Refusal) -> None:
        kind = replace(refusal, target=None, request_id=None, count=1)
        if kind not in self.waiting and len(self.waiting) >= _KINDS:
            kind = Refusal(refusal.reason, token_id=self.token_id)
        self.waiting[kind] += refusal.count


class RefusalAllowances:
    """Decides which refusals become rows, and when; ``now`` is in seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._callers: dict[str, _Caller] = {}
        self._due: list[Refusal] = []

    def note(self, refusal: Refusal, now: float) -> bool:
        """Add a refused call; return whether it becomes a row at once."""
        caller = self._caller(refusal.token_id or _UNKNOWN, now)
        caller.grow(now)
        if caller.allowance >= 1 and not caller.waiting:
            caller.allowance -= 1
            self._due.append(refusal)
            return True
        caller.count(refusal)
        return False

    def _caller(self, name: str, now: float) -> _Caller:
        if name not in self._callers and name != _UNKNOWN and len(self._callers) >= _CALLERS:
            name = _OTHERS
        if name not in self._callers:
            self._callers[name] = _Caller(None if name in (_UNKNOWN, _OTHERS) else name, _BURST, now)
        return self._callers[name]

    def take(self, now: float) -> list[Refusal]:
        """Return the rows to write now, and remove callers without recent refusals."""
        rows, self._due = self._due, []
        for name, caller in list(self._callers.items()):
            caller.grow(now)
            while caller.waiting and caller.allowance >= 1:
                caller.allowance -= 1
                kind, count = caller.waiting.popitem()
                rows.append(replace(kind, count=count))
            if caller.allowance >= _BURST:
                del self._callers[name]
        return rows

    def give_back(self, rows: list[Refusal], now: float) -> None:
        """Add rows back that could not be written; they are counted with equal refusals."""
        for row in rows:
            self._caller(row.token_id or _UNKNOWN, now).count(row)


class RefusedCallWriter:
    """Writes a replica's refused calls into the audit."""

    def __init__(self, db: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._db = db
        self._clock = clock
        self._book = RefusalAllowances()
        self._wake = asyncio.Event()
        self._writing = asyncio.Lock()

    def note(self, refusal: Refusal) -> None:
        """Add a refused call, which is written soon."""
        if self._book.note(refusal, self._clock()):
            self._wake.set()

    async def run(self) -> None:
        """Write rows when they are due, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), _WAIT_SECONDS)
            self._wake.clear()
            await self.flush()

    async def flush(self) -> None:
        """Write the rows that are due; while the database is away they are kept and counted."""
        async with self._writing:
            rows = self._book.take(self._clock())
            if not rows:
                return
            try:
                await audit.record_refusals(self._db, rows)
            except DatabaseUnavailable as error:
                _log.warning("refused calls wait for the database", extra={"rows": len(rows), "error": str(error)})
                self._book.give_back(rows, self._clock())
