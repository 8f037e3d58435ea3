"""The procedure ``audit.list``: who did what."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from app.access.auth import ADMINISTER
from app.access.context import Context
from app.procedures.checks import paging
from app.procedures.checks.arguments import Since, refuse_nul, since_time
from app.procedures.checks.ids import parse_task
from app.procedures.checks.paging import Page
from app.rpc.server.procedure import query
from app.shapes.records import Wire, or_unset
from db import audit

_CURSOR = re.compile(r"(\d{1,18})-(\d{1,18})", re.ASCII)


class AuditListInput(Wire):
    """Which rows to list. ``user`` is the id of a user or a token."""

    user: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    task_id: str | None = None
    since: Since = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    cursor: str | None = None


class AuditEntry(Wire):
    """A change (outcome ``ok``) or a refused call; ``count`` says how many equal calls the row stands for."""

    audit_id: int
    at: datetime
    outcome: str
    user: str | UnsetType = UNSET
    token_id: str | UnsetType = UNSET
    address: str | UnsetType = UNSET
    procedure: str | UnsetType = UNSET
    target: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    request_id: str | UnsetType = UNSET
    count: int | UnsetType = UNSET


class AuditPage(Page[AuditEntry]):
    """A page of the audit; ``nextCursor`` is absent on the last one."""


@query(access=ADMINISTER)
async def listing(context: Context, input: AuditListInput) -> AuditPage:
    """Return changes and refused calls, newest first."""
    refuse_nul(user=input.user)
    await context.services.refusals.flush()
    entries, more = await audit.listing(
        context.db,
        account=input.user,
        target=f"task-{parse_task(input.task_id)}" if input.task_id else None,
        since=since_time(input.since),
        before=None if input.cursor is None else _parse_cursor(input.cursor),
        limit=input.limit,
    )
    items = [
        AuditEntry.from_record(entry, user=or_unset(entry.user_id), count=entry.count if entry.count > 1 else UNSET)
        for entry in entries
    ]
    return AuditPage(items=items, next_cursor=_cursor(entries[-1]) if more else UNSET)


def _cursor(entry: audit.AuditRow) -> str:
    return f"{paging.microseconds(entry.at)}-{entry.audit_id}"


def _parse_cursor(text: str) -> tuple[datetime, int]:
    match = _CURSOR.fullmatch(text)
    if match is None:
        raise paging.invalid_cursor()
    return paging.parse_microseconds(match[1]), int(match[2])
