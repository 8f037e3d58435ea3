"""Single calls and batches over plain HTTP, as tRPC v11 writes them."""

import json

import pytest
from support.wire import request

QUERY = "/trpc/a.greet?input=%7B%22name%22%3A%22x%22%7D"


async def test_a_query_is_answered_in_an_envelope(served):
    assert await request(served, "GET", QUERY) == (200, {"result": {"data": {"hello": "x", "by": "writer"}}})


async def test_undefined_and_null_differ(served):
    assert await request(served, "GET", "/trpc/a.nothing") == (200, {"result": {}})
    assert await request(served, "GET", "/trpc/a.null") == (200, {"result": {"data": None}})


async def test_a_mutation_takes_its_input_from_the_body(served):
    assert await request(served, "POST", "/trpc/a.store", b'{"name":"x"}') == (
        200,
        {"result": {"data": {"stored": "x"}}},
    )


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code", "number"),
    [
        ("GET", "/trpc/a.store", None, 405, "METHOD_NOT_SUPPORTED", -32005),
        ("POST", "/trpc/a.greet", b"{}", 405, "METHOD_NOT_SUPPORTED", -32005),
        ("GET", "/trpc/no.such", None, 404, "NOT_FOUND", -32004),
        ("GET", "/trpc/a.greet?input=%7B%22name%22%3A5%7D", None, 400, "BAD_REQUEST", -32600),
        ("GET", "/trpc/a.greet?input=%7Bbad", None, 400, "BAD_REQUEST", -32600),
        ("GET", "/trpc/a.gr%E0%A4%A", None, 400, "BAD_REQUEST", -32600),
        ("POST", "/trpc/a.store", b'{"name":', 400, "BAD_REQUEST", -32600),
        ("POST", "/trpc/a.store", b"x" * 200_000, 413, "PAYLOAD_TOO_LARGE", -32013),
        ("GET", "/trpc/a.crash", None, 500, "INTERNAL_SERVER_ERROR", -32603),
        ("GET", "/trpc/a.refuse", None, 409, "CONFLICT", -32009),
        ("GET", "/trpc/" + ",".join(["a.nothing"] * 6) + "?batch=1", None, 400, "BAD_REQUEST", -32600),
        ("GET", "/trpc/a.nothing,a.store?batch=1", None, 400, "BAD_REQUEST", -32600),
    ],
)  # fmt: skip
async def test_an_error_has_status_code_and_number(served, method, path, body, status, code, number):
    found, answer = await request(served, method, path, body)
    assert (found, answer["error"]["data"]["code"], answer["error"]["code"]) == (status, code, number)
    assert answer["error"]["data"]["httpStatus"] == status
    assert answer["error"]["data"]["reason"]
    assert answer["error"]["data"]["hint"]
    assert "secret" not in json.dumps(answer)


async def test_an_error_names_field_reason_and_next_step(served):
    _, answer = await request(served, "GET", "/trpc/a.greet?input=%7B%22name%22%3A5%7D")
    assert answer["error"]["data"] | {"hint": ""} == {
        "code": "BAD_REQUEST",
        "httpStatus": 400,
        "path": "a.greet",
        "reason": "invalid_input",
        "field": "name",
        "hint": "",
    }
    _, answer = await request(served, "GET", "/trpc/a.refuse")
    assert answer["error"]["data"]["version"] == 4
    _, answer = await request(served, "GET", "/trpc/a.gret")
    assert "a.greet" in answer["error"]["data"]["hint"]


async def test_a_post_of_another_type_is_refused(served):
    status, answer = await request(served, "POST", "/trpc/a.store", b"x", content_type="text/plain")
    assert (status, answer["error"]["data"]["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")


async def test_rights_are_checked_before_the_input(served):
    status, answer = await request(served, "POST", "/trpc/a.store", b"{}", authorization="Bearer reader")
    assert (status, answer["error"]["data"]["code"]) == (403, "FORBIDDEN")
    status, answer = await request(served, "POST", "/trpc/a.store", b"{}", authorization="Bearer nobody")
    assert (status, answer["error"]["data"]["code"]) == (401, "UNAUTHORIZED")


async def test_a_batch_is_an_array_with_207_where_outcomes_differ(served):
    status, answer = await request(
        served, "GET", "/trpc/a.greet,no.such?batch=1&input=%7B%220%22%3A%7B%22name%22%3A%22x%22%7D%7D"
    )
    assert status == 207
    assert answer[0]["result"]["data"]["hello"] == "x"
    assert answer[1]["error"]["data"]["code"] == "NOT_FOUND"
    assert (await request(served, "GET", "/trpc/a.nothing?batch=1"))[1] == [{"result": {}}]


async def test_a_foreign_page_may_not_write(served):
    status, answer = await request(served, "POST", "/trpc/a.store", b'{"name":"x"}', origin="http://evil.example")
    assert (status, answer["error"]["data"]["reason"]) == (403, "foreign_origin")
