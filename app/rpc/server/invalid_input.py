"""The refusal of an invalid input: msgspec's errors in words, with the member's name and the allowed values."""

from __future__ import annotations

import ast
import difflib
import re
from typing import Any, Final

import msgspec
from msgspec import inspect

from app.rpc.errors import ProcedureError

_MISSING: Final = re.compile(r"Object missing required field `(\w+)`")
_BOUND: Final = re.compile(r"Expected `(?P<type>\w+)`(?P<of> of length)? (?P<sign>[<>]=?) (?P<limit>[-\d.]+)")
_KIND: Final = re.compile(r"Expected `(?P<types>[\w| ]+)`, got `(?P<actual>\w+)`")
_PATTERN: Final = re.compile(r"Expected `str` matching regex (?P<regex>'.*'|\".*\")")
_CHOICE: Final = re.compile(r"Invalid enum value '?(.*?)'?", re.DOTALL)
_STEP: Final = re.compile(r"\.?(\w+)|\[[^]]*\]")
_SIGNS: Final = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}
_WORDS: Final = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "datetime": "a time",
    "bool": "true or false",
    "object": "an object",
    "array": "a list",
}
"""JSON types by msgspec's names."""
_TIME: Final = "Invalid RFC3339 encoded datetime"
_LONGEST_VALUE: Final = 100


def invalid_input(error: msgspec.ValidationError, input_type: Any, *, is_given: bool = True) -> ProcedureError:
    """Return the refusal of an input. It names the member if msgspec does: ``text - at `$.member` ``."""
    text, _, path = str(error).rpartition(" - at `$") if " - at `$" in str(error) else (str(error), "", "")
    field = path.rstrip("`").lstrip(".")
    hint = "correct the named field" if field else "send an object of the procedure's fields"
    if missing := _MISSING.fullmatch(text):
        field = f"{field}.{missing[1]}" if field else missing[1]
        text = "it is missing"
        hint = "correct the named field" if is_given else "give the input: a query's in the URL, ?input=JSON"
    elif bound := _BOUND.fullmatch(text):
        subject = "its length must be" if bound["of"] else "it must be"
        text = f"{subject} {_SIGNS[bound['sign']]} {bound['limit'].removesuffix('.0')}"
    elif kind := _KIND.fullmatch(text):
        text = f"{'it' if field else 'the input'} must be {_in_words(kind['types'])}, not {_in_words(kind['actual'])}"
    elif pattern := _PATTERN.fullmatch(text):
        text = f"it must match the regular expression {ast.literal_eval(pattern['regex'])}"
    elif text == _TIME:
        text = "it must be a time such as 2026-01-31T12:00:00Z"
    elif choice := _CHOICE.fullmatch(text):
        values = [str(value) for value in _choices(inspect.type_info(input_type), field)]
        value = choice[1][:_LONGEST_VALUE]
        nearest = difflib.get_close_matches(value, values, n=1)
        text = f"'{value}' is not one of its values" + (f"; did you mean {nearest[0]}?" if nearest else "")
        hint = f"choose one of: {', '.join(values)}" if values else hint
    data = {"field": field} if field else {}
    return ProcedureError(
        "BAD_REQUEST", f"{field}: {text}" if field else text, reason="invalid_input", hint=hint, **data
    )


def _in_words(types: str) -> str:
    """Return JSON types in words, without null, which only means that a member is left out."""
    names = [name for name in types.split(" | ") if name != "null"] or ["null"]
    return " or ".join(_WORDS.get(name, name) for name in names)


def _choices(kind: inspect.Type, path: str) -> tuple[Any, ...]:
    """Return the values that a member's type allows; an empty tuple for a type without a list of values."""
    for step in _STEP.finditer(path):
        kind = _member(kind, step[1])
    return tuple(value for one in _alternatives(kind) if isinstance(one, inspect.LiteralType) for value in one.values)


def _member(kind: inspect.Type, name: str | None) -> inspect.Type:
    """Return the type of a struct's member, or of the items of a list or a dictionary."""
    for one in _alternatives(kind):
        if name is not None and isinstance(one, inspect.StructType):
            return next((field.type for field in one.fields if field.encode_name == name), inspect.AnyType())
        if name is None and isinstance(one, inspect.ListType | inspect.VarTupleType):
            return one.item_type
        if name is None and isinstance(one, inspect.DictType):
            return one.value_type
    return inspect.AnyType()


def _alternatives(kind: inspect.Type) -> tuple[inspect.Type, ...]:
    """Return the members of a union, or a type itself, without annotations."""
    while isinstance(kind, inspect.Metadata):
        kind = kind.type
    return kind.types if isinstance(kind, inspect.UnionType) else (kind,)
