"""The procedures ``tasks.kv*``: the key-value store by which the jobs of one task coordinate."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from msgspec import Meta

from app.access.auth import ATTEMPT_ROLES, READ_VALUES, WRITE_VALUES
from app.access.context import Context
from app.client import models
from app.core.reasons import refusal
from app.procedures.checks.arguments import check_json_limit
from app.procedures.checks.ids import no_such_task, parse_task
from app.procedures.checks.ownership import check_may_change, check_may_see
from app.rpc.server.procedure import mutation, query
from app.shapes.records import RecordShape, Wire
from db import events, tasks, tokens

Key = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]
IdempotencyKey = Key | None


class KeyInput(Wire):
    """One key of a task's store."""

    task_id: str
    key: Key


class PrefixInput(Wire):
    """The keys that begin with a prefix."""

    task_id: str
    prefix: Annotated[str, Meta(max_length=200, pattern=r"^[^\x00]*$")] = ""


class ValueSetInput(Wire):
    """A value to write; the same write with the same ``idempotencyKey`` again changes nothing."""

    task_id: str
    key: Key
    value: Any
    idempotency_key: IdempotencyKey = None


class ValueCasInput(Wire):
    """A value to write over a version; 0 means the key must be new."""

    task_id: str
    key: Key
    value: Any
    version: Annotated[int, Meta(ge=0, le=2**53)]
    idempotency_key: IdempotencyKey = None


class Value(models.Value, RecordShape, frozen=True, kw_only=True):
    """One entry; ``version`` counts its writes."""


class Values(Wire, omit_defaults=False):
    """Entries by key."""

    items: list[Value]


def _shape(value: tasks.ValueRow) -> Value:
    return Value.from_record(value, value=orjson.loads(value.value))


async def _parse_task(context: Context, text: str, *, write: bool = False) -> int:
    task_id = parse_task(text)
    caller = context.caller
    if caller.role in ATTEMPT_ROLES and caller.task_id != task_id:
        raise refusal("forbidden", f"a token of role {caller.role} may use only the store of its own task")
    await (check_may_change if write else check_may_see)(context, task_id)
    if await events.state(context.db, task_id) is None:
        raise no_such_task(text)
    return task_id


async def _check_attempt(context: Context) -> None:
    """Raise UNAUTHORIZED when the calling job's attempt has ended since its token was checked."""
    if context.caller.role in ATTEMPT_ROLES and await tokens.find(context.db, context.secret) is None:
        raise refusal("token_invalid", "the attempt that this token belongs to has ended")


@query(access=READ_VALUES)
async def get(context: Context, input: KeyInput) -> Value | None:
    """Return a value, or null."""
    value = await tasks.get_value(context.db, await _parse_task(context, input.task_id), input.key)
    return _shape(value) if value else None


@query(access=READ_VALUES)
async def listing(context: Context, input: PrefixInput) -> Values:
    """Return the values whose key begins with a prefix."""
    values = await tasks.list_values(context.db, await _parse_task(context, input.task_id), input.prefix)
    return Values(items=[_shape(value) for value in values])


async def _write(context: Context, input: ValueSetInput | ValueCasInput, version: int | None, procedure: str) -> Value:
    settings = context.services.settings
    check_json_limit("value", input.value, settings.kv_bytes)
    task_id = await _parse_task(context, input.task_id, write=True)
    caller = context.caller
    written = await tasks.set_value(
        context.db,
        task_id,
        input.key,
        input.value,
        version=version,
        key_limit=settings.kv_keys,
        byte_limit=settings.kv_total_bytes,
        idempotency_key=input.idempotency_key,
        writer=None if caller.job is None or caller.attempt is None else (caller.job, caller.attempt),
        actor=context.actor(procedure),
    )
    if written is not None:
        return _shape(written)
    await _check_attempt(context)
    current = await tasks.get_value(context.db, task_id, input.key)
    if current is not None and current.idempotency_key == input.idempotency_key is not None:
        return _shape(current)
    stored = current.version if current else 0
    if version in (None, stored):
        raise await _full(context, task_id, is_new=current is None)
    raise refusal("version_conflict", f"{input.key} is at version {stored}, not {version}", version=stored)


async def _full(context: Context, task_id: int, *, is_new: bool) -> Exception:
    settings = context.services.settings
    if is_new and await tasks.count_values(context.db, task_id) >= settings.kv_keys:
        return refusal("limit_exceeded", f"a task has at most {settings.kv_keys} keys", limit=settings.kv_keys)
    limit = settings.kv_total_bytes
    return refusal("limit_exceeded", f"value: a task's values have at most {limit} bytes", field="value", limit=limit)


@mutation(access=WRITE_VALUES)
async def set_value(context: Context, input: ValueSetInput) -> Value:
    """Write a value."""
    return await _write(context, input, None, "tasks.kvSet")


@mutation(access=WRITE_VALUES)
async def cas(context: Context, input: ValueCasInput) -> Value:
    """Write a value if it is still at the given version."""
    return await _write(context, input, input.version, "tasks.kvCas")
