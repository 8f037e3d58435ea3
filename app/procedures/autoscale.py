"""The procedures ``workers.autoscale*``: the ranges within which spawners keep workers."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from app.access.auth import OPERATE
from app.access.context import Context
from app.client import fleet
from app.core.reasons import refusal
from app.procedures.checks.arguments import refuse_nul
from app.rpc.errors import ProcedureError
from app.rpc.server.procedure import mutation
from app.shapes.records import RecordShape, Wire
from db import autoscale
from db.autoscale import MOST_RANGES, MOST_WAITING, AutoscaleRange, NewRange, SetRange

Capability = Annotated[str, Meta(max_length=200)]
Count = Annotated[int, Meta(ge=0, le=10_000)]
_LONGEST_SECONDS = 7 * 86_400


class AutoscaleInput(Wire):
    """A range; without ``capability`` it is about all workers that spawners start. What is left out stays as it is."""

    capability: Capability = ""
    min: Count | None = None
    max: Count | None = None
    target_queue: Count | None = None
    cooldown_seconds: Annotated[float, Meta(ge=0, le=_LONGEST_SECONDS)] | None = None


class AutoscaleRemoveInput(Wire):
    """The capability of a range."""

    capability: Capability = ""


class Autoscale(fleet.Autoscale, RecordShape, frozen=True, kw_only=True):
    """A range, and how many workers there are that the maximum holds for."""

    @classmethod
    def of(cls, range: AutoscaleRange) -> Autoscale:
        """Make the shape of a record."""
        return cls.from_record(range, min=range.minimum, max=range.maximum, capability=range.capability or None)


@mutation(access=OPERATE)
async def store(context: Context, input: AutoscaleInput) -> Autoscale:
    """Set within which limits spawners keep workers; they heed it from their next step on."""
    refuse_nul(capability=input.capability)
    new = NewRange(input.capability, input.min, input.max, input.target_queue, input.cooldown_seconds)
    stored = await autoscale.store(context.db, new, context.actor("workers.autoscale"))
    if not stored.stored:
        raise _refused(stored)
    kept = [one for one in await autoscale.ranges(context.db) if one.capability == input.capability]
    if not kept:
        raise _unknown(input.capability)
    return Autoscale.of(kept[0])


@mutation(access=OPERATE)
async def remove(context: Context, input: AutoscaleRemoveInput) -> Autoscale:
    """Remove a range and return it; its workers are then kept by the settings of their spawner."""
    refuse_nul(capability=input.capability)
    removed = await autoscale.remove(context.db, input.capability, context.actor("workers.autoscaleRemove"))
    if removed is None:
        raise _unknown(input.capability)
    return Autoscale.of(removed)


def _refused(asked: SetRange) -> ProcedureError:
    """Return why a range was not stored."""
    if asked.maximum is None:
        return refusal("invalid_input", "max: a new range needs one", field="max", hint="add --max N")
    if asked.minimum > asked.maximum:
        text = f"min: the minimum of {asked.minimum} is above the maximum of {asked.maximum}"
        return refusal("invalid_input", text, field="min", hint="lower --min, or raise --max in the same call")
    if asked.maximum * asked.target_queue > MOST_WAITING:
        text = (
            f"targetQueue: {asked.maximum} workers with {asked.target_queue} queued jobs each are above {MOST_WAITING}"
        )
        hint = "lower --max or --target-queue"
        return refusal("limit_exceeded", text, field="targetQueue", limit=MOST_WAITING, hint=hint)
    hint = "remove one first: ado workers autoscale CAPABILITY --remove"
    return refusal(
        "limit_exceeded", f"there are {MOST_RANGES} ranges, which is the limit", limit=MOST_RANGES, hint=hint
    )


def _unknown(capability: str) -> ProcedureError:
    what = f"for {capability[:100]!r}" if capability else "for all workers"
    return refusal("no_such_range", f"there is no range {what}")
