"""Procedures: plain functions with a ``Procedure`` attached. A test can call the function directly.

A query or mutation is ``async def name(context, input) -> output``; a subscription is an async generator. The types
of input and output are read from the annotations; without a second parameter there is no input.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Generic, Literal, TypeVar, get_args, get_type_hints

import msgspec

from app.rpc.server.invalid_input import invalid_input

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
    """The kind of a function, the right that a caller needs, and the types of its input and output."""

    kind: Kind
    access: str
    handler: Callable[..., Any]
    input_type: Any
    """The type of the input; None when there is none."""
    output_type: Any

    def decode(self, value: Any) -> tuple[Any, ...]:
        """Check an input; return the handler's arguments after the context. Raises BAD_REQUEST."""
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
    """Declare a query, which only reads."""
    return _declare("query", access)


def mutation(*, access: str) -> Callable[[F], F]:
    """Declare a mutation, which writes."""
    return _declare("mutation", access)


def subscription(*, access: str) -> Callable[[F], F]:
    """Declare a subscription, which is an async generator of items."""
    return _declare("subscription", access)


def without_nulls(value: Any, type_: Any) -> Any:
    """Return a decoded input without its optional members that are null; required members keep null.

    Serialisers of other languages write null for a member that is left out.
    """
    if not isinstance(value, dict) or (members := _optional_members(type_)) is None:
        return value
    return {
        name: without_nulls(member, members.get(name))
        for name, member in value.items()
        if member is not None or name not in members
    }


@cache
def _optional_members(type_: Any) -> Mapping[str, Any] | None:
    """Return the wire names of a struct's optional members, each with its own struct type if it has one.

    Return None for a type that is no struct.
    """
    if not (isinstance(type_, type) and issubclass(type_, msgspec.Struct)):
        return None
    return {field.encode_name: _struct_in(field.type) for field in msgspec.structs.fields(type_) if not field.required}


def _struct_in(type_: Any) -> Any:
    for part in (type_, *get_args(type_)):
        if isinstance(part, type) and issubclass(part, msgspec.Struct):
            return part
    return None
