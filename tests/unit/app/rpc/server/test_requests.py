"""Frames of a client: what is read of them at once, and that their inputs stay bytes until they are needed."""

import json

import pytest

from app.rpc.envelope import ABSENT
from app.rpc.errors import ProcedureError
from app.rpc.server.requests import TooManyCalls, parse_frame


def call(**params):
    return {"id": 1, "method": "query", "params": {"path": "a", **params}}


@pytest.mark.parametrize("value", [None, 0, "x", [1, {}], {"name": "ü😀"}])
def test_an_input_is_read_when_it_is_asked_for(value):
    (request,) = parse_frame(json.dumps(call(input=value)), limit=10)
    assert isinstance(request.raw_input, bytes)
    assert request.input() == value


def test_an_absent_input_is_undefined():
    (request,) = parse_frame(json.dumps(call()), limit=10)
    assert request.input() is ABSENT


def test_an_input_that_cannot_be_read_is_the_error_of_its_call():
    (request,) = parse_frame('{"id":1,"method":"query","params":{"path":"a","input":1e400}}', limit=10)
    assert isinstance(request.input(), ProcedureError)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ("", "The frame is not JSON"),
        ("{bad", "The frame is not JSON"),
        ("[" * 100_000, "The frame is not JSON"),
        ('{"id":' + "[" * 100_000, "The frame is not JSON"),
        ('{"id":1} x', "The frame is not JSON"),
        ("5", "Not an object"),
        ("null", "Not an object"),
        ("[5]", "Not an object"),
        ('{"id":1,"method":"query"}', "Not an object"),
        ('{"id":1,"method":"query","params":[]}', "Not an object"),
        ('{"id":1}', "Invalid procedure type"),
        ('{"id":1,"method":{}}', "Invalid procedure type"),
        ('{"id":null,"method":"query","params":{"path":"a"}}', "`id` is required"),
        ('{"id":true,"method":"query","params":{"path":"a"}}', "Invalid request id"),
        ('{"id":1,"method":"query","params":{"path":5}}', "Invalid string"),
        ('{"id":1,"method":"query","params":{"path":"a","lastEventId":5}}', "Invalid string"),
        ('{"id":1,"jsonrpc":"1.0","method":"query","params":{"path":"a"}}', "Must be JSONRPC 2.0"),
    ],
)
def test_a_senseless_frame_is_refused(frame, message):
    with pytest.raises(ProcedureError, match=message) as raised:
        parse_frame(frame, limit=10)
    assert raised.value.code == "PARSE_ERROR"


def test_a_list_is_counted_before_its_calls_are_read():
    assert len(parse_frame(" \n[" + ",".join([json.dumps(call())] * 10) + "]", limit=10)) == 10
    with pytest.raises(TooManyCalls):
        parse_frame("[" + ",".join(["{}"] * 11) + "]", limit=10)
