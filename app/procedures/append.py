"""The procedure ``workers.append``: numbered batches of events, acknowledged once durable."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
from msgspec import Meta

from app.access.auth import REPORT
from app.access.context import Context
from app.core.reasons import refusal
from app.log.appender import OTHER_BYTES
from app.procedures.checks.arguments import check_limit, decode_base64, in_utc
from app.procedures.checks.fences import AttemptInput, fence_error, may_write
from app.rpc.server.procedure import mutation
from app.settings import AppSettings
from app.shapes.records import Wire
from db import jobs
from db.events import Batch, NewEvent

WORKER_TYPES = frozenset({"output", "progress", "agent", "checkpoint", "dropped", "check", "budget", "rate_limited"})
OUTPUT_SOURCES = ("setup", "check")
_FROM_SERVER = frozenset({"taskId", "seq", "job", "attempt", "type", "at", "storedAt"})


class AppendInput(AttemptInput, kw_only=True):
    """A batch of one attempt; ``batch`` counts from 1 and one is in flight at a time."""

    batch: Annotated[int, Meta(ge=1, le=2**53)]
    events: list[dict[str, Any]]


class Acknowledged(Wire, omit_defaults=False):
    """The batch is durable."""

    acknowledged: int


@mutation(access=REPORT)
async def append(context: Context, input: AppendInput) -> Acknowledged:
    """Store a batch durably. A batch that is stored already is acknowledged again."""
    held = input.held(context)
    settings = context.services.settings
    check_limit("events", len(input.events), settings.batch_events)
    events = [parse_event(event, settings) for event in input.events]
    batch = Batch(held.task_id, held.job, held.attempt, held.worker_id, input.batch, events, credential=held.credential)
    if not await context.services.appender.append(batch):
        await _check_stored(context, batch)
    return Acknowledged(acknowledged=input.batch)


async def _check_stored(context: Context, batch: Batch) -> None:
    """Return if the batch is stored already, or once the part of it that the limit allows is.

    Raises CONFLICT or FORBIDDEN when the fence refused it.
    """
    job = await jobs.get(context.db, batch.task_id, batch.job)
    if not may_write(job, batch):
        raise fence_error(job, batch, batch.number)
    if job.last_batch >= batch.number:
        return
    limit = context.services.settings.output_bytes
    rest = within_limit(batch, limit, stored=job.output_bytes, first=job.dropped_bytes == 0)
    if job.last_batch != batch.number - 1 or rest is batch:
        raise fence_error(job, batch, batch.number)
    if not await context.services.appender.append(rest):
        await _check_stored(context, rest)


def within_limit(batch: Batch, limit: int, *, stored: int, first: bool) -> Batch:
    """Return a batch without the events that its attempt may no longer store; the batch itself if it may store all.

    ``stored`` is how many bytes the attempt has stored so far. Dropped bytes are counted. The ``first`` batch that
    drops something also carries the event ``truncated``. Only one batch can be the first, because the fence lets only
    one follow the last batch that was stored in full.
    """
    if stored < limit:
        return batch
    kept = [
        event
        for event in batch.events
        if event.type == "truncated" or (event.type != "output" and stored < limit + OTHER_BYTES)
    ]
    if len(kept) == len(batch.events):
        return batch
    dropped = batch.dropped + sum(event.size for event in batch.events) - sum(event.size for event in kept)
    if first and not any(event.type == "truncated" for event in kept):
        body = orjson.dumps({"limitBytes": limit, "droppedBytes": dropped}).decode()
        kept.append(NewEvent("truncated", None, datetime.now(UTC), None, body))
    return replace(batch, events=kept, dropped=dropped)


def parse_event(event: dict[str, Any], settings: AppSettings) -> NewEvent:
    """Check one event of a worker. Raises BAD_REQUEST."""
    kind = event.get("type")
    if not isinstance(kind, str) or kind not in WORKER_TYPES:
        raise refusal("event_type", f"events: a worker may not append the type {str(kind)[:100]!r}", field="events")
    at = _time(event.get("at"))
    if kind == "output":
        return NewEvent(
            "output", _stream(event.get("stream", "stdout")), at, _data(event, settings.event_bytes), _source(event)
        )
    body = _body(event)
    _check_size(len(body), settings.event_bytes)
    return NewEvent(str(kind), None, at, None, body.decode())


def _body(event: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps({key: value for key, value in event.items() if key not in _FROM_SERVER})
    except TypeError:  # orjson reads 1024 levels and writes 254
        raise refusal("invalid_input", "events: an event is nested too deeply", field="events") from None


def _time(text: Any) -> datetime:
    if text is None:
        return datetime.now(UTC)
    try:
        return in_utc("events", datetime.fromisoformat(text))
    except (TypeError, ValueError):
        raise refusal("invalid_input", "events: at must be an ISO 8601 time", field="events") from None


def _stream(name: Any) -> str:
    if name not in ("stdout", "stderr"):
        raise refusal("invalid_input", "events: stream must be stdout or stderr", field="events")
    return str(name)


def _source(event: dict[str, Any]) -> str | None:
    """Return the body of an output event: what wrote it, unless that was the agent."""
    source = event.get("source")
    if source is None:
        return None
    if source not in OUTPUT_SOURCES:
        raise refusal("invalid_input", "events: source must be setup or check", field="events")
    return orjson.dumps({"source": source}).decode()


def _data(event: dict[str, Any], limit: int) -> bytes:
    data = event.get("data", "")
    encoding = event.get("encoding")
    if not isinstance(data, str) or encoding not in (None, "base64"):
        raise refusal("invalid_input", "events: data must be text, encoding absent or base64", field="events")
    raw = decode_base64("events", data) if encoding else data.encode()
    _check_size(len(raw), limit)
    return raw


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise refusal("limit_exceeded", f"events: {size} bytes of one event are more than {limit}", limit=limit)
