"""How much of a list goes into one answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from app.rpc.server.calls import encode

T = TypeVar("T")


def fitting(items: Sequence[T], limit: int) -> list[T]:
    """Return the first items that together take at most ``limit`` bytes as JSON, but always one if there is one."""
    size = 0
    for count, item in enumerate(items):
        size += len(encode(item))
        if count and size > limit:
            return list(items[:count])
    return list(items)
