"""What no text of a call may hold, said before it reaches the database.

Postgres stores no NUL in a text; in JSON it stores one, and fails when the text is read. Values that are JSON of the
caller's own (a key's value, a result) and an event's data may hold it: they are never taken apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.core.reasons import refusal


def refuse_nul(**fields: Any) -> None:
    """Raise BAD_REQUEST, naming the field, when a text anywhere in it has a NUL."""
    for field, value in fields.items():
        if _has_nul(value):
            raise refusal("invalid_input", f"{field}: a text in it has a NUL, which cannot be stored", field=field)


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, Mapping):
        return any(_has_nul(key) or _has_nul(item) for key, item in value.items())
    return isinstance(value, list | tuple) and any(_has_nul(item) for item in value)
