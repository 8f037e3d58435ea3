"""Batches as JSON lines, methods, and what is read of a stranger."""

import asyncio
import socket

import pytest
from support.wire import Stream, request

from app.rpc.errors import ProcedureError

LINES = {"trpc_accept": "application/jsonl"}


def lines(served, path, headers=LINES):
    with Stream(served, path, **headers) as stream:
        return stream.response.status, stream.lines()


@pytest.mark.parametrize("headers", [LINES, {"accept": "text/html, application/jsonl"}])
async def test_each_answer_is_a_json_line_sent_when_it_is_ready(served, headers):
    path = "/trpc/a.slow,a.nothing,no.such?batch=1"
    status, found = await asyncio.to_thread(lines, served, path, headers)
    assert status == 200
    assert found[0] == {"0": [[0], [None, 0, 0]], "1": [[0], [None, 0, 1]], "2": [[0], [None, 0, 2]]}
    assert found[-1] == [0, 0, [[{"result": {"data": "slow"}}]]]
    chunks = {number: value for number, _, [[value]] in found[1:]}
    assert chunks[1] == {"result": {}}
    assert chunks[2]["error"]["data"]["code"] == "NOT_FOUND"


async def test_bad_credentials_are_reported_inside_the_lines(served):
    status, found = await asyncio.to_thread(
        lines, served, "/trpc/a.null,a.null?batch=1", LINES | {"authorization": "Bearer nobody"}
    )
    assert status == 200
    assert {value["error"]["data"]["code"] for _, _, [[value]] in found[1:]} == {"UNAUTHORIZED"}


async def test_lines_without_a_batch_are_refused_as_one_object(served):
    status, answer = await request(served, "GET", "/trpc/a.null", **LINES)
    assert (status, answer["error"]["data"]["code"]) == (400, "BAD_REQUEST")


async def test_a_subscription_in_a_batch_fails_only_its_own_entry(served):
    status, answer = await request(served, "GET", "/trpc/a.count?batch=1")
    assert (status, answer[0]["error"]["data"]["code"]) == (400, "BAD_REQUEST")


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [("HEAD", {}, 204), ("OPTIONS", {}, 415), ("OPTIONS", {"content_type": "application/json"}, 405),
     ("PUT", {"content_type": "application/json"}, 405)],
)  # fmt: skip
async def test_other_methods_are_answered(served, method, headers, status):
    assert (await request(served, method, "/trpc/a.null", **headers))[0] == status


async def test_a_wrong_method_names_the_right_one(served):
    def allow():
        with Stream(served, "/trpc/a.null", method="POST", body=b"") as stream:
            return stream.response.getheader("allow")

    assert await asyncio.to_thread(allow) == "GET"


async def test_the_caller_is_checked_before_the_body_is_read(served):
    """A stranger announces a body and never sends it; the answer comes all the same."""

    def ask():
        with socket.create_connection(("127.0.0.1", served.port), timeout=5) as connection:
            connection.sendall(
                b"POST /trpc/a.store HTTP/1.1\r\nhost: x\r\nauthorization: Bearer nobody\r\n"
                b"content-type: application/json\r\ncontent-length: 90000\r\n\r\n{"
            )
            return connection.recv(1000)

    assert (await asyncio.to_thread(ask)).startswith(b"HTTP/1.1 401")


async def test_rights_are_checked_before_an_unreadable_input(served):
    status, _ = await request(served, "POST", "/trpc/a.store", b"{", authorization="Bearer reader")
    assert status == ProcedureError("FORBIDDEN", "").status
