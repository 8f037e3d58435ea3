"""Pages of lists: their limits, and whether another page follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class PageLimit:
    """The most rows of a page, and about the most bytes of them; one row always fits."""

    rows: int = 2**30
    bytes: int = 2**62


ALL = PageLimit()


def more(rows: Sequence[Any]) -> bool:
    """Whether another page follows these rows."""
    return any(row["more"] for row in rows)
