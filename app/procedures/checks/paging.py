"""Pages of lists that are short almost everywhere: what is asked for without a limit is the most that a page has."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from app.access.context import Context
from app.core.reasons import refusal
from app.rpc.errors import ProcedureError
from db.paging import PageLimit

MOST = 1000
Limit = Annotated[int, Meta(ge=1, le=MOST)]
Cursor = Annotated[str, Meta(max_length=500)]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECONDS = re.compile(r"\d{1,18}", re.ASCII)


def room(context: Context, limit: int) -> PageLimit:
    """Return how much of a list a page takes: its rows, and half the bytes of an answer, as JSON is larger."""
    return PageLimit(limit, context.services.settings.body_bytes // 2)


def cursor(more: bool, *parts: object) -> str | UnsetType:
    """Return the cursor of a page's last item, where there is more."""
    return "/".join(map(str, parts)) if more else UNSET


def microseconds(at: datetime) -> int:
    """Return a time as a part of a cursor."""
    return (at - _EPOCH) // timedelta(microseconds=1)


def time_of(part: str) -> datetime:
    """Return the time of a part of a cursor. Raises BAD_REQUEST."""
    try:
        if _MICROSECONDS.fullmatch(part):
            return _EPOCH + timedelta(microseconds=int(part))
    except OverflowError:
        pass
    raise invalid()


def invalid() -> ProcedureError:
    """Make the error for a text that is no page's cursor."""
    return refusal("invalid_input", "cursor: it must be a page's nextCursor", field="cursor")
