"""Procedures: plain functions with a record attached, so that a test calls them directly.

A query or mutation is ``async def name(context, input) -> output``; a subscription is an async generator. The types
of input and output are read from the annotations; without a second parameter there is no input.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar, get_type_hints

import msgspec

from app.rpc.server.invalid_input import invalid_input
from app.rpc.server.nulls import without_nulls

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
Kind = Literal["query", "mutation", "subscription"]
METHODS: Final[dict[Kind, str]] = {"query": "GET", "mutation": "POST", "subscription": "GET"}


@dataclass(frozen=True, slots=True)
class Tracked(Generic[T]):
    """An item that a reader can resume after: tRPC's tracked event."""

    id: str
    data: T


@dataclass(frozen=True, slots=True)
class Procedure:
    """What the wire knows of a function: its kind, the right it asks for, and its types."""

    kind: Kind
    access: str
    handler: Callable[..., Any]
    input_type: Any
    """The type of the input; None when there is none."""
    output_type: Any

    def decode(self, value: Any) -> tuple[Any, ...]:
        """Check an input and return the handler's arguments after the context. Raises BAD_REQUEST."""
        if self.input_type is None:
            return ()
        try:
            members = {} if value is None else without_nulls(value, self.input_type)
            return (msgspec.convert(members, self.input_type, strict=True),)
        except msgspec.ValidationError as error:
            raise invalid_input(error, self.input_type, is_given=value is not None) from None


def _declare(kind: Kind, access: str) -> Callable[[F], F]:
    def declare(handler: F) -> F:
        hints = get_type_hints(handler, include_extras=True)
        parameters = list(inspect.signature(handler).parameters)
        input_type = hints[parameters[1]] if len(parameters) > 1 else None
        handler.procedure = Procedure(kind, access, handler, input_type, hints.get("return"))  # type: ignore[attr-defined]
        return handler

    return declare


def query(*, access: str) -> Callable[[F], F]:
    """Declare a query: it reads."""
    return _declare("query", access)


def mutation(*, access: str) -> Callable[[F], F]:
    """Declare a mutation: it writes."""
    return _declare("mutation", access)


def subscription(*, access: str) -> Callable[[F], F]:
    """Declare a subscription: an async generator of items."""
    return _declare("subscription", access)
