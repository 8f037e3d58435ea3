"""Annotations of strings that have known words: lists to which later releases may add, and closed ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from msgspec import Meta, inspect

_KEY = "words"
_CLOSED = "closed"


def words(name: str, known: Iterable[str]) -> Meta:
    """Return the annotation of a string that is a known word, or one that a later release adds.

    ``name`` is the type's name in TypeScript.
    """
    return Meta(extra={_KEY: (name, tuple(known))})


def words_of(info: inspect.Metadata) -> tuple[str, tuple[str, ...]] | None:
    """Return the name and the known words of an annotated string; None for another annotation."""
    extra: dict[str, Any] = info.extra or {}
    return extra.get(_KEY)


def closed_words(*known: str) -> Meta:
    """Return the annotation of a string that a server sends only with these values, while readers accept any."""
    return Meta(extra={_CLOSED: known})


def closed_words_of(hint: Any) -> Any:
    """Return the Literal of a type that is annotated with ``closed_words``; None for any other type."""
    for annotation in getattr(hint, "__metadata__", ()):
        if isinstance(annotation, Meta) and (known := (annotation.extra or {}).get(_CLOSED)):
            return Literal[known]
    return None
