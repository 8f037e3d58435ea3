"""null for an optional member is as good as nothing; a required one keeps it."""

from typing import Annotated, Any

import msgspec
import pytest

from app.rpc.server.procedure import without_nulls


class Inner(msgspec.Struct, rename="camel"):
    """A nested input."""

    must: Any
    may_be: int = 3


class Outer(msgspec.Struct, rename="camel"):
    """An input."""

    value: Any
    some_name: Annotated[str, msgspec.Meta(min_length=1)] = "x"
    inner: Inner | None = None
    many: dict[str, Any] = {}


@pytest.mark.parametrize(
    ("value", "left"),
    [
        ({"value": None, "someName": None}, {"value": None}),
        ({"value": 0, "someName": ""}, {"value": 0, "someName": ""}),
        ({"inner": {"must": None, "mayBe": None}}, {"inner": {"must": None}}),
        ({"inner": None, "many": {"a": None}}, {"many": {"a": None}}),
        ({"unknown": None}, {"unknown": None}),
        ([None], [None]),
        (7, 7),
    ],
)
def test_only_optional_members_of_structs_lose_their_nulls(value, left):
    assert without_nulls(value, Outer) == left


def test_an_input_that_is_no_struct_is_left_as_it_is():
    assert without_nulls({"a": None}, dict) == {"a": None}
