"""``null`` for a member that may be left out counts as left out: serialisers of other languages write it so."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, get_args

import msgspec


def without_nulls(value: Any, type_: Any) -> Any:
    """Return a decoded input without the optional members that are null; required ones keep theirs."""
    if not isinstance(value, dict) or (members := _optional_members(type_)) is None:
        return value
    return {
        name: without_nulls(member, members.get(name))
        for name, member in value.items()
        if member is not None or name not in members
    }


@cache
def _optional_members(type_: Any) -> Mapping[str, Any] | None:
    """Map the wire names of a struct's optional members to their struct types, or None; None for what is no struct."""
    if not (isinstance(type_, type) and issubclass(type_, msgspec.Struct)):
        return None
    return {field.encode_name: _struct_in(field.type) for field in msgspec.structs.fields(type_) if not field.required}


def _struct_in(type_: Any) -> Any:
    for part in (type_, *get_args(type_)):
        if isinstance(part, type) and issubclass(part, msgspec.Struct):
            return part
    return None
