"""Annotations of strings that have known words, to which later releases may add."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Meta, inspect

_KEY = "words"


def words(name: str, known: Iterable[str]) -> Meta:
    """Return the annotation of a string that is a known word, or one that a later release adds.

    ``name`` is the type's name in TypeScript.
    """
    return Meta(extra={_KEY: (name, tuple(known))})


def words_of(info: inspect.Metadata) -> tuple[str, tuple[str, ...]] | None:
    """Return the name and the known words of an annotated string; None for another annotation."""
    extra: dict[str, Any] = info.extra or {}
    return extra.get(_KEY)
