"""What is wrong with an input is said with the member's name and what it may be."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
import pytest
from msgspec import Meta
from support.wire import greet

from app.rpc.errors import ProcedureError
from app.rpc.server.invalid_input import invalid_input

State = Literal["queued", "running"]


class Part(msgspec.Struct, rename="camel"):
    its_state: State | None = None


class Input(msgspec.Struct, rename="camel"):
    name: Annotated[str, Meta(min_length=1, max_length=3)]
    count: Annotated[int, Meta(ge=1, le=5)] = 1
    rate: Annotated[float, Meta(gt=0)] = 1.0
    status: State | None = None
    states: list[State] = []
    shown: State | Literal["all"] = "all"
    parts: dict[str, Part] = {}
    sure: bool = False
    since: datetime | int | None = None
    file: Annotated[str, Meta(pattern=r"^file-[^\s]'+$")] | None = None


@pytest.mark.parametrize(
    ("value", "message", "hint"),
    [
        ({}, "name: it is missing", "correct the named field"),
        ([], "the input must be an object, not a list", "send an object of the procedure's fields"),
        ({"name": "a", "count": 0}, "count: it must be at least 1", "correct the named field"),
        ({"name": "a", "count": 6}, "count: it must be at most 5", "correct the named field"),
        ({"name": "a", "rate": 0}, "rate: it must be more than 0", "correct the named field"),
        ({"name": "a", "count": None}, "count: it must be a whole number, not null", "correct the named field"),
        ({"name": 5}, "name: it must be a text, not a whole number", "correct the named field"),
        ({"name": "a", "states": {}}, "states: it must be a list, not an object", "correct the named field"),
        ({"name": "a", "sure": 1}, "sure: it must be true or false, not a whole number", "correct the named field"),
        (
            {"name": "a", "since": []},
            "since: it must be a whole number or a time, not a list",
            "correct the named field",
        ),
        (
            {"name": "a", "since": "soon"},
            "since: it must be a time such as 2026-01-31T12:00:00Z",
            "correct the named field",
        ),
        (
            {"name": "a", "file": "x"},
            r"file: it must match the regular expression ^file-[^\s]'+$",
            "correct the named field",
        ),
        ({"name": ""}, "name: its length must be at least 1", "correct the named field"),
        ({"name": "a", "count": "x"}, "count: it must be a whole number, not a text", "correct the named field"),
        (
            {"name": "a", "status": "runing"},
            "status: 'runing' is not one of its values; did you mean running?",
            "choose one of: queued, running",
        ),
        ({"name": "a", "states": ["x"]}, "states[0]: 'x' is not one of its values", "choose one of: queued, running"),
        ({"name": "a", "shown": "x"}, "shown: 'x' is not one of its values", "choose one of: queued, running, all"),
        (
            {"name": "a", "parts": {"p": {"itsState": "x"}}},
            "parts[...].itsState: 'x' is not one of its values",
            "choose one of: queued, running",
        ),
        (
            {"name": "a", "status": "x - at `$.name`, " * 1000},
            f"status: '{('x - at `$.name`, ' * 10)[:100]}' is not one of its values",
            "choose one of: queued, running",
        ),
    ],
)
def test_an_invalid_input_lists_the_allowed_values(value, message, hint):
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(value, Input, strict=True)
    error = invalid_input(caught.value, Input)
    assert (error.message, error.hint) == (message, hint)
    assert (error.code, error.reason) == ("BAD_REQUEST", "invalid_input")
    assert error.data.get("field") == (message.partition(":")[0] if ":" in message else None)


def test_a_missing_input_is_reported_with_its_place():
    with pytest.raises(ProcedureError, match="name: it is missing") as caught:
        greet.procedure.decode(None)
    assert "?input=" in caught.value.hint
