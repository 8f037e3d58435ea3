"""Pages of lists: their limits, and cursors made of a last item's keys."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Generic, TypeVar

from msgspec import UNSET, Meta, UnsetType

from app.access.context import Context
from app.core.reasons import refusal
from app.rpc.errors import ProcedureError
from app.rpc.server.calls import encode
from app.shapes.records import Wire
from db.paging import PageLimit

T = TypeVar("T")
PAGE_ITEMS = 1000
"""The most items of a page, and how many a page has when no limit is given: most lists are shorter."""
Limit = Annotated[int, Meta(ge=1, le=PAGE_ITEMS)]
Cursor = Annotated[str, Meta(max_length=500)]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECONDS = re.compile(r"\d{1,18}", re.ASCII)


class PageInput(Wire):
    """Which page of a list: at most ``limit`` items, after the page whose ``nextCursor`` is given."""

    limit: Limit = PAGE_ITEMS
    cursor: Cursor | None = None


class Page(Wire, Generic[T], omit_defaults=False):
    """A page of a list; ``nextCursor`` is absent on the last one."""

    items: list[T]
    next_cursor: str | UnsetType = UNSET


def page_limit(context: Context, limit: int) -> PageLimit:
    """Return the most rows of a page and bytes of them: half of an answer's bytes, because JSON takes more room."""
    return PageLimit(limit, context.services.settings.body_bytes // 2)


def fit(items: Sequence[T], limit: int) -> list[T]:
    """Return the first items that together take at most ``limit`` bytes as JSON, but always one if there is one."""
    size = 0
    for count, item in enumerate(items):
        size += len(encode(item))
        if count and size > limit:
            return list(items[:count])
    return list(items)


def next_cursor(more: bool, *parts: object) -> str | UnsetType:
    """Return the cursor of a page's last item; absent on the last page."""
    return "/".join(map(str, parts)) if more else UNSET


def microseconds(at: datetime) -> int:
    """Return a time as a part of a cursor."""
    return (at - _EPOCH) // timedelta(microseconds=1)


def parse_microseconds(part: str) -> datetime:
    """Return the time that a part of a cursor stands for. Raises BAD_REQUEST."""
    try:
        if _MICROSECONDS.fullmatch(part):
            return _EPOCH + timedelta(microseconds=int(part))
    except OverflowError:
        pass
    raise invalid_cursor()


def invalid_cursor() -> ProcedureError:
    """Make the error for a text that is no page's cursor."""
    return refusal("invalid_input", "cursor: it must be a page's nextCursor", field="cursor")
