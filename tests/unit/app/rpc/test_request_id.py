"""The id that leads from an answer to the log."""

import asyncio
import json
import logging

import pytest
from support.wire import Stream
from websockets.asyncio.client import connect

from app.core.logs import JsonFormatter


@pytest.fixture
def logged():
    """Return the lines that the wire logs, as a replica writes them."""
    lines = []

    class Lines(logging.Handler):
        def emit(self, record):
            lines.append(json.loads(self.format(record)))

    handler = Lines()
    handler.setFormatter(JsonFormatter())
    logging.getLogger("ado.rpc").addHandler(handler)
    yield lines
    logging.getLogger("ado.rpc").removeHandler(handler)


def crash(served, **headers):
    with Stream(served, "/trpc/a.crash", **headers) as stream:
        return stream.response.getheader("x-request-id"), json.loads(stream.response.read())["error"]["data"]


@pytest.mark.parametrize(
    ("sent", "kept"), [({}, False), ({"x_request_id": "abc-1.2_3"}, True), ({"x_request_id": "a b"}, False),
                       ({"x_request_id": "x" * 65}, False), ({"x_request_id": ""}, False)]
)  # fmt: skip
async def test_a_failure_has_one_id_in_answer_header_and_log(served, logged, sent, kept):
    header, data = await asyncio.to_thread(crash, served, **sent)
    assert (header == sent.get("x_request_id")) is kept
    assert data["requestId"] == header
    assert header in data["hint"]
    (line,) = logged
    assert (line["request"], line["event"], line["path"], line["error"]) == (
        header, "call failed", "a.crash", "ZeroDivisionError",
    )  # fmt: skip


async def test_every_request_has_its_own_id(served):
    assert (await asyncio.to_thread(crash, served))[0] != (await asyncio.to_thread(crash, served))[0]


async def test_the_calls_of_a_socket_share_one_request_id(served, logged):
    headers = {"authorization": "Bearer writer"}
    async with connect(f"ws://127.0.0.1:{served.port}/trpc", additional_headers=headers, proxy=None) as socket:
        name = socket.response.headers["x-request-id"]
        for number in (1, 2):
            await socket.send(json.dumps({"id": number, "method": "query", "params": {"path": "a.crash"}}))
            assert json.loads(await socket.recv())["error"]["data"]["requestId"] == name
    assert [line["request"] for line in logged] == [name, name]
