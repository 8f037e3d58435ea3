"""Typed functions over ``sql/queries/events.sql``: the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from db.database import Database
from db.model import EventRow, parameters_of

_LEAST_EVENT_BYTES = 100
"""The least that an event counts, because even an empty row takes this much space."""


class NewEvent(NamedTuple):
    """One event of a worker: ``data`` for output, ``body`` (JSON text) for its source and for the other types."""

    type: str
    stream: str | None
    at: datetime
    data: bytes | None
    body: str | None

    @property
    def size(self) -> int:
        """Bytes of its data or body."""
        if self.data is not None:
            return len(self.data)
        body = self.body or ""
        return len(body) if body.isascii() else len(body.encode())  # the first case makes no copy


@dataclass(frozen=True, slots=True)
class Batch:
    """A numbered batch of one attempt."""

    task_id: int
    job: int
    attempt: int
    worker_id: str
    number: int
    events: Sequence[NewEvent]
    dropped: int = 0
    """Bytes of events that were left out because the attempt had reached its limit."""
    credential: bytes | None = None
    """Digest of the credential that came with it."""

    def sizes(self) -> tuple[int, int]:
        """Return what its output and its other events count toward the limit of the attempt, in bytes.

        ``truncated`` counts nothing: the server writes it, and it must always fit.
        """
        output = other = 0
        for event in self.events:
            size = max(event.size, _LEAST_EVENT_BYTES)
            if event.type == "output":
                output += size
            elif event.type != "truncated":
                other += size
        return output, other


async def append(
    db: Database, batch: Batch, lease_seconds: float, *, output_limit: int, event_limit: int, live: str | None = None
) -> bool:
    """Store a batch in a commit of its own; False when the fence or a limit refused it.

    ``output_limit``: bytes of stored events after which an attempt's output is refused; ``event_limit``: after which
    all of its events are. ``live``: its events for those who wait for them (``app.log.live``).
    """
    output_size, other_size = batch.sizes()
    rows = await db.announced(
        "append_batch",
        task_id=batch.task_id,
        job=batch.job,
        attempt=batch.attempt,
        worker_id=batch.worker_id,
        batch=batch.number,
        event_count=len(batch.events),
        output_size=output_size,
        other_size=other_size,
        dropped_size=batch.dropped,
        credential=batch.credential,
        lease_seconds=lease_seconds,
        output_limit=output_limit,
        event_limit=event_limit,
        live=live,
        **_columns(batch.events),
    )
    return bool(rows)


async def append_all(
    db: Database, batches: Sequence[Batch], lease_seconds: float, *, output_limit: int, event_limit: int
) -> list[bool]:
    """Store batches of different attempts in one commit; False for each that the fence or a limit refused."""
    sizes = [batch.sizes() for batch in batches]
    rows = await db.many(
        "append_batches",
        task_ids=[batch.task_id for batch in batches],
        jobs=[batch.job for batch in batches],
        attempts=[batch.attempt for batch in batches],
        worker_ids=[batch.worker_id for batch in batches],
        batches=[batch.number for batch in batches],
        counts=[len(batch.events) for batch in batches],
        output_sizes=[output for output, _ in sizes],
        other_sizes=[other for _, other in sizes],
        dropped_sizes=[batch.dropped for batch in batches],
        credentials=[batch.credential for batch in batches],
        lease_seconds=lease_seconds,
        output_limit=output_limit,
        event_limit=event_limit,
        event_positions=[position for position, batch in enumerate(batches, 1) for _ in batch.events],
        event_numbers=[number for batch in batches for number in range(1, len(batch.events) + 1)],
        **_columns([event for batch in batches for event in batch.events]),
    )
    stored = {row["position"] for row in rows}
    return [position in stored for position in range(1, len(batches) + 1)]


def _columns(events: Sequence[NewEvent]) -> dict[str, Any]:
    return {
        "types": [event.type for event in events],
        "streams": [event.stream for event in events],
        "ats": [event.at for event in events],
        "datas": [event.data for event in events],
        "bodies": [event.body for event in events],
    }


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some events after a cursor, where the log ends, and when the event at the cursor was stored (None: unknown)."""

    events: list[EventRow]
    last_seq: int
    cursor_at: datetime | None

    @property
    def more(self) -> bool:
        """Whether the log goes on after these events."""
        return bool(self.events) and self.events[-1].seq < self.last_seq


async def page(db: Database, task_id: int, after: int, *, row_limit: int, byte_limit: int) -> EventPage:
    """Return events after a cursor, in order, within both limits (but at least one if there is one).

    The log of an unknown task is empty.
    """
    rows = await db.many("page_events", task_id=task_id, after=after, row_limit=row_limit, byte_limit=byte_limit)
    if not rows:
        return EventPage([], 0, None)
    last_seq = rows[0]["last_seq"]
    if rows[0]["seq"] is None:
        return EventPage([], last_seq, None)
    cursor_at = rows.pop(0)["stored_at"] if rows[0]["seq"] == after else None
    return EventPage([EventRow.of(row) for row in rows], last_seq, cursor_at)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Selects events of a task: of one job or all, of these streams, and with or without events that have no stream."""

    job: int | None
    streams: tuple[str, ...]
    others: bool


@dataclass(frozen=True, slots=True)
class SelectedPage:
    """The next selected events, and the cursor up to which there are no others."""

    events: list[EventRow]
    last_seq: int
    through: int
    kept: bool
    """Whether the log is still there."""


async def selected_page(
    db: Database, task_id: int, after: int, selection: EventFilter, *, row_limit: int, byte_limit: int
) -> SelectedPage:
    """Return selected events and the task's own after a cursor, in order, within both limits (but at least one)."""
    rows = await db.many(
        "page_selection",
        **parameters_of(selection, streams=list(selection.streams)),
        task_id=task_id,
        after=after,
        row_limit=row_limit,
        byte_limit=byte_limit,
    )
    if not rows:
        return SelectedPage([], 0, 0, kept=False)
    events = [EventRow.of(row) for row in rows if row["seq"] is not None]
    last_seq = int(rows[0]["last_seq"])
    return SelectedPage(events, last_seq, last_seq if rows[0]["complete"] else events[-1].seq, rows[0]["kept"])


@dataclass(frozen=True, slots=True)
class LogState:
    """The end of a log: its last seq, whether the task has ended, whether its events were dropped."""

    last_seq: int
    ended: bool
    pruned: bool


async def state(db: Database, task_id: int) -> LogState | None:
    """Return where a task's log ends; None for an unknown task."""
    row = await db.optional("last_seq", task_id=task_id)
    return LogState(row["last_seq"], row["ended"], bool(row["pruned"])) if row else None


@dataclass(frozen=True, slots=True)
class Window:
    """A range of a log: its wanted events, and the first and last ``seq`` of all its events; None when it is empty."""

    events: Sequence[EventRow]
    first: int | None
    last: int | None


async def window(
    db: Database, task_id: int, cursor: int, *, backwards: bool, job: int | None, row_limit: int, byte_limit: int
) -> Window:
    """Return the events before or after a cursor, in order, within both limits (but at least one if there is one)."""
    rows = await db.many(
        "search_window",
        task_id=task_id,
        cursor=cursor,
        backwards=backwards,
        job=job,
        row_limit=row_limit,
        byte_limit=byte_limit,
    )
    wanted = [EventRow.of(row) for row in rows if row["is_wanted"]]
    return Window(wanted, rows[0]["seq"], rows[-1]["seq"]) if rows else Window([], None, None)


async def cursor_of_tail(db: Database, task_id: int, count: int, selection: EventFilter) -> int:
    """Return the cursor before the last ``count`` selected events."""
    values = parameters_of(selection, streams=list(selection.streams))
    row = await db.one("seq_before_tail", **values, task_id=task_id, count=count)
    return int(row["after"])


async def cursor_of_time(db: Database, task_id: int, since: datetime) -> int:
    """Return the cursor before everything stored since a moment."""
    return int((await db.one("seq_before_time", task_id=task_id, since=since))["after"])


async def rename_live_channel(db: Database) -> None:
    """Give the channel of small events a new name once a day; each replica follows at its listener's next check."""
    await db.many("rename_live_channel")


async def extend(db: Database, ahead: int) -> int:
    """Make partitions for the next ``ahead`` task ids; return how many were new."""
    return int((await db.one("extend_log", ahead=ahead))["made"])
