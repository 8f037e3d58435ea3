"""The procedures ``tasks.input`` and ``workers.input``: bytes for a job's stdin, each once and in order.

The sender numbers bytes by their offset. So a call that is late, repeated or out of order changes nothing, and one that
would leave a gap is refused. At most ``WAITING_BYTES`` wait for the attempt. Beyond that the sender's call is held
back, and then answered with the number of bytes received so far.
The attempt acknowledges bytes by the offset from which it reads. A later attempt begins again at 0 if all bytes from
there on are kept. Otherwise the log gets ``input_lost``, and the worker fails the job. The same happens when the sender
is gone before the end, because the job would wait for it until its timeout.
Authority: the sender's right to change the task, and the attempt's fence.
Hints: ``i:TASK/JOB`` wakes both sides; a side that misses one reads the tables after a poll interval.
"""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncIterator
from typing import Annotated

from msgspec import Meta

from app.access.auth import REPORT, RUN_TASKS
from app.access.context import Context
from app.client import models
from app.core.reasons import refusal
from app.procedures.checks.arguments import decode_base64
from app.procedures.checks.fences import AttemptInput, fence_error, may_write
from app.procedures.checks.ids import no_such_job, no_such_task, parse_task
from app.procedures.checks.ownership import check_may_change
from app.rpc.server.procedure import Tracked, mutation, subscription
from app.shapes.records import RecordShape, Wire, job_id
from db import inputs, jobs
from db.inputs import Progress
from db.model import HeldAttempt

WAITING_BYTES = 1024 * 1024
"""The most bytes that wait for a job's attempt, and the most of one call."""
_PIECE_BYTES = 256 * 1024
_HELD_SECONDS = 5.0  # shorter than a client's time limit for an answer
Offset = Annotated[int, Meta(ge=0, le=2**53)]


class SendInput(Wire):
    """Bytes for a job's stdin as base64; ``offset`` is how many came before them, ``end`` that none follow.

    A sender that sets ``alive`` calls at least every 20 s, even with nothing to send. If it falls silent for
    ``ADO_INPUT_SILENCE_SECONDS``, its job fails.
    """

    task_id: str
    offset: Offset
    job: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0
    data: str = ""
    end: bool = False
    alive: bool = False


class Received(models.Received, RecordShape, frozen=True, kw_only=True):
    """How many bytes were received: the offset from which the sender continues."""


class InputReadInput(AttemptInput, kw_only=True):
    """The attempt that reads, and how many bytes it has taken.

    With ``maxBytes`` the subscription ends after one item of at most so many bytes, and the offset of the next one
    acknowledges them. Without it, bytes that were sent count as taken.
    """

    offset: Offset = 0
    max_bytes: Annotated[int, Meta(ge=1)] | None = None
    last_event_id: str | int | None = None


class InputPiece(Wire, omit_defaults=False):
    """Bytes of the input from ``offset`` on, as base64; after ``end`` nothing follows."""

    offset: int
    data: str
    end: bool


@mutation(access=RUN_TASKS)
async def send(context: Context, input: SendInput) -> Received:
    """Store a job's input. While too much of it waits, the call is held back; then it answers what was received."""
    task_id = parse_task(input.task_id)
    await check_may_change(context, task_id)
    data = _decode(input.data)
    last = input.offset + len(data)
    deadline = time.monotonic() + _HELD_SECONDS
    alive = input.alive
    with context.services.hub.waiting(("i", f"{task_id}/{input.job}")) as hint:
        while True:
            progress = await inputs.store(
                context.db, task_id, input.job, offset=input.offset, data=data, end=input.end,
                alive=alive, waiting_limit=WAITING_BYTES,
            )  # fmt: skip
            alive = False  # a call is one sign of life, however often it looks for room
            if progress is None:
                raise await _closed(context, task_id, input.job)
            if input.offset > progress.received:
                text = f"{job_id(task_id, input.job)}: {progress.received} bytes were received, not {input.offset}"
                raise refusal("input_gap", text, expected=progress.received)
            if progress.ended and last > progress.received:
                raise refusal("input_closed", f"the input has ended after {progress.received} bytes")
            left = deadline - time.monotonic()
            if last < progress.received or (last == progress.received and progress.ended >= input.end) or left <= 0:
                return Received(acknowledged=progress.received)
            await hint.wait(min(left, context.services.settings.poll_seconds))


def _decode(text: str) -> bytes:
    data = decode_base64("data", text)
    if len(data) > WAITING_BYTES:
        message = f"data: {len(data)} bytes are more than {WAITING_BYTES}"
        raise refusal("limit_exceeded", message, field="data", limit=WAITING_BYTES)
    return data


async def _closed(context: Context, task_id: int, job: int) -> Exception:
    if await jobs.get(context.db, task_id, 0) is None:
        return no_such_task(f"task-{task_id}")
    row = await jobs.get(context.db, task_id, job)
    if row is None:
        return no_such_job(job_id(task_id, job))
    return refusal("input_closed", f"{job_id(task_id, job)} is {row.status} and takes no input")


@subscription(access=REPORT)
async def read(context: Context, input: InputReadInput) -> AsyncIterator[Tracked[InputPiece]]:
    """A job's input for the attempt that runs it, each item tracked by the offset after it; ends with the input."""
    reader = input.held(context)
    offset = _first_offset(input)
    limit = input.max_bytes
    silence = _Silence(context.services.settings.input_silence_seconds)
    with context.services.hub.waiting(("i", f"{reader.task_id}/{reader.job}")) as hint:
        while True:
            progress = await _acknowledge(context, reader, offset)
            if offset == progress.received and not progress.ended:
                if silence.is_too_long(progress.beats):
                    await inputs.lose(context.db, reader)
                    name = job_id(reader.task_id, reader.job)
                    raise refusal("input_lost", f"{name}: its input stopped at byte {offset}, and its sender is gone")
                await hint.wait(context.services.settings.poll_seconds)
                continue
            size = min(_PIECE_BYTES, limit or _PIECE_BYTES)
            data = await inputs.read(context.db, reader.task_id, reader.job, offset=offset, byte_limit=size)
            end = progress.ended and offset + len(data) == progress.received
            piece = InputPiece(offset=offset, data=base64.b64encode(data).decode(), end=end)
            offset += len(data)
            yield Tracked(str(offset), piece)
            if end or limit is not None:
                return


class _Silence:
    """Measures for how long a sender that sets ``alive`` has been silent, within one subscription.

    A new subscription measures again from zero: after an outage the sender needs its time to call again, too.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._beats = -1
        self._since = 0.0

    def is_too_long(self, beats: int) -> bool:
        """Note the sender's count of calls; return whether it has not changed for too long."""
        now = time.monotonic()
        if beats != self._beats:
            self._beats, self._since = beats, now
        return beats > 0 and 0 < self._limit <= now - self._since


def _first_offset(input: InputReadInput) -> int:
    if input.last_event_id is None:
        return input.offset
    text = str(input.last_event_id)
    if not (text.isascii() and text.isdigit() and len(text) <= 16):
        raise refusal("invalid_input", "lastEventId: it must be the id of an item", field="lastEventId")
    return int(text)


async def _acknowledge(context: Context, reader: HeldAttempt, offset: int) -> Progress:
    """Record what the attempt has taken. Raises CONFLICT for an attempt that does not run, or when the rest is lost."""
    keep = context.services.settings.input_keep_bytes
    progress = await inputs.take(context.db, reader, offset=offset, keep_limit=keep)
    if progress is not None:
        return progress
    name = job_id(reader.task_id, reader.job)
    job = await jobs.get(context.db, reader.task_id, reader.job)
    if not may_write(job, reader):
        raise fence_error(job, reader)
    await inputs.lose(context.db, reader)
    raise refusal("input_lost", f"{name}: its input is not kept from byte {offset} on")
