"""Subscriptions over server-sent events: order, resumption, errors on the stream, ends that are no ends."""

import asyncio
import functools
import json

import pytest
from support.wire import FLOODED, Gate, Served, Stream

from app.rpc.server.gate import WireLimits

COUNT = "/trpc/a.count?input=%7B%22until%22%3A3%7D"
CONNECTED = {"event": "connected", "data": '{"reconnectAfterInactivityMs":30000}'}
RETURN = {"event": "return", "data": ""}


def read(served, path, **options):
    with Stream(served, path, **options) as stream:
        return stream.response.status, dict(stream.response.getheaders()), list(stream.events())


async def events(served, path, **options):
    return (await asyncio.to_thread(functools.partial(read, served, path, **options)))[2]


async def test_a_stream_sends_connected_items_with_ids_and_return(served):
    status, headers, found = await asyncio.to_thread(read, served, COUNT)
    assert (status, headers["content-type"], headers["x-accel-buffering"]) == (200, "text/event-stream", "no")
    assert headers["cache-control"] == "no-cache, no-transform"
    items = [{"data": f'{{"n":{number}}}', "id": str(number)} for number in (1, 2, 3)]
    assert found == [CONNECTED, *items, RETURN]


@pytest.mark.parametrize(
    ("query", "headers", "first"),
    [
        ("", {"last_event_id": "2"}, "3"),
        ("&lastEventId=1", {}, "2"),
        ("&Last-Event-Id=1", {}, "2"),
        ("&lastEventId=1", {"last_event_id": "2"}, "3"),
    ],
)
async def test_the_header_has_precedence_over_the_query_for_the_resume_id(served, query, headers, first):
    assert (await events(served, COUNT + query, **headers))[1]["id"] == first


@pytest.mark.parametrize(
    ("path", "options", "code"),
    [
        ("/trpc/a.count?input=%7B%22until%22%3A%22x%22%7D", {}, "BAD_REQUEST"),
        ("/trpc/a.count?input=%7Bbad", {}, "BAD_REQUEST"),
        (COUNT, {"authorization": "Bearer nobody"}, "UNAUTHORIZED"),
        ("/trpc/a.count", {"method": "POST", "body": b'{"until":1}'}, "METHOD_NOT_SUPPORTED"),
    ],
)
async def test_an_error_is_sent_as_an_event_of_the_stream(served, path, options, code):
    status, _, found = await asyncio.to_thread(functools.partial(read, served, path, **options))
    assert (status, found[0], found[1]["event"], len(found)) == (200, CONNECTED, "serialized-error", 2)
    assert json.loads(found[1]["data"])["data"]["code"] == code


async def test_a_failure_ends_the_stream_after_its_items(served):
    found = await events(served, "/trpc/a.broken")
    assert [event.get("event") for event in found] == ["connected", None, "serialized-error"]
    assert json.loads(found[2]["data"])["data"]["reason"] == "stale"


async def test_connection_params_are_credentials(served):
    query = "&connectionParams=%7B%22token%22%3A%22reader%22%7D"
    assert (await events(served, COUNT + query, authorization=""))[-1] == RETURN
    status, _, _ = await asyncio.to_thread(read, served, COUNT + "&connectionParams=%7B%22token%22%3A5%7D")
    assert status == 400


async def test_an_unknown_path_is_a_plain_404(served):
    assert (await asyncio.to_thread(read, served, "/trpc/a.nope"))[0] == 404


async def test_an_idle_stream_sends_pings():
    async with Served(Gate(), WireLimits(ping_seconds=0.02)) as served:

        def three():
            with Stream(served, "/trpc/a.wait") as stream:
                found = stream.events()
                return [next(found) for _ in range(4)]

        found = await asyncio.to_thread(three)
    assert found[0]["data"] == '{"reconnectAfterInactivityMs":60}'
    assert found[2:] == [{"event": "ping", "data": ""}] * 2


async def test_revocation_ends_an_open_stream_with_an_error(served):
    def revoked():
        with Stream(served, "/trpc/a.wait") as stream:
            found = stream.events()
            head = [next(found), next(found)]
            served.gate.revoked.add("writer")
            return [*head, *found]

    last = (await asyncio.to_thread(revoked))[-1]
    assert last["event"] == "serialized-error"
    assert json.loads(last["data"])["data"]["code"] == "UNAUTHORIZED"


async def test_a_drain_asks_streams_to_reconnect(served):
    loop = asyncio.get_running_loop()

    def drained():
        with Stream(served, "/trpc/a.wait") as stream:
            found = stream.events()
            head = [next(found), next(found)]
            draining = asyncio.run_coroutine_threadsafe(served.application.drain(0.2), loop)
            rest = list(found)
            draining.result(10)
            return [*head, *rest]

    assert await asyncio.to_thread(drained) == [
        CONNECTED, {"data": '"here"'}, {"event": "reconnect", "retry": "500", "data": ""},
    ]  # fmt: skip


async def test_a_client_that_leaves_stops_the_procedure(served):
    def leave():
        with Stream(served, "/trpc/a.wait") as stream:
            next(stream.events())

    await asyncio.to_thread(leave)
    async with asyncio.timeout(60):
        while any(task.get_name().endswith("a.wait") for task in asyncio.all_tasks()):
            await asyncio.sleep(0.01)


async def test_a_reader_that_does_not_read_stops_the_procedure_from_making_more(served):
    FLOODED.clear()

    def start():
        stream = Stream(served, "/trpc/a.flood")
        next(stream.events())
        return stream

    stream = await asyncio.to_thread(start)
    made = -1
    async with asyncio.timeout(60):
        while made != len(FLOODED):
            made = len(FLOODED)
            await asyncio.sleep(0.3)
    assert made < 200  # of 100 kB each: what sockets hold, not more
    with stream:
        pass
