"""The sizes that a caller chooses, and what is said of one that is too large."""

from __future__ import annotations

from typing import Any

import orjson

from app.core.reasons import refusal

LABELS_BYTES = 16 * 1024
AGENT_ARGS_BYTES = 64 * 1024
USAGE_BYTES = 4 * 1024
"""Tokens and cost; an answer has those of a thousand jobs."""
LOAD_BYTES = 4 * 1024
ABOUT_BYTES = 64 * 1024
POD_BYTES = 16 * 1024
SCALE_BYTES = 2000
"""A set of capabilities to keep workers for is a key, and Postgres takes 2,704 bytes in an index."""
CAPABILITIES = 200


def limit(field: str, found: int, most: int) -> None:
    """Raise BAD_REQUEST, naming the field, when there is more of it than allowed."""
    if found > most:
        raise refusal("limit_exceeded", f"{field}: {found} is more than the limit of {most}", field=field, limit=most)


def limit_json(field: str, value: Any, most: int) -> None:
    """Raise BAD_REQUEST, naming the field, when it takes more bytes as JSON than allowed."""
    try:
        size = len(orjson.dumps(value))
    except TypeError:  # orjson reads 1024 levels and writes 254
        raise refusal("invalid_input", f"{field}: it is nested too deeply", field=field) from None
    limit(field, size, most)
