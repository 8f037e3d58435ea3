"""Frames over ASGI: what is received and sent, and what happens when the client has gone."""

import asyncio
import json

import pytest

from app.rpc.errors import ProcedureError
from app.rpc.server.websocket_frames import ClientGone, Frames


class Peer:
    """The server's side of ASGI: gives ``messages`` and notes what is sent, or raises ``failure``."""

    def __init__(self, *messages):
        self.messages, self.sent, self.failure = list(messages), [], None
        self.blocked = asyncio.Event()
        self.blocked.set()

    async def receive(self):
        return self.messages.pop(0)

    async def send(self, event):
        await self.blocked.wait()
        if self.failure:
            raise self.failure
        self.sent.append(event)

    def frames(self, close_seconds=10.0):
        return Frames(self.receive, self.send, close_seconds=close_seconds)


def frame(text):
    return {"type": "websocket.receive", "text": text}


async def test_an_upgrade_is_accepted_after_it_was_asked_for():
    peer = Peer({"type": "websocket.connect"}, frame("x"))
    await peer.frames().accept()
    assert (peer.sent, len(peer.messages)) == ([{"type": "websocket.accept"}], 1)


async def test_text_frames_are_received_and_binary_ones_refused():
    peer = Peer(frame("one"), {"type": "websocket.receive", "bytes": b"\0"}, frame(""))
    frames = peer.frames()
    assert not frames.heard.is_set()
    assert await frames.next_text() == "one"
    assert frames.heard.is_set()
    assert await frames.next_text() == ""
    (refused,) = peer.sent
    error = json.loads(refused["text"])
    assert (error["id"], error["error"]["data"]["code"]) == (None, "PARSE_ERROR")


@pytest.mark.timeout(10)
async def test_others_get_a_turn_between_the_frames_of_a_client():
    """A client may send a thousand frames at once."""
    frames, turns = Peer(*(frame("x") for _ in range(20))).frames(), 0

    async def others():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(others())
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        for number in range(1, 21):
            await frames.next_text()
            assert turns >= number
    other.cancel()


async def test_a_disconnect_is_no_frame():
    frames = Peer({"type": "websocket.disconnect"}).frames()
    with pytest.raises(ClientGone):
        await frames.next_text()
    assert not frames.heard.is_set()


@pytest.mark.parametrize("failure", [RuntimeError("after close"), ConnectionResetError()])
async def test_sending_to_a_client_that_has_gone_says_so(failure):
    peer = Peer()
    peer.failure = failure
    for write in (peer.frames().send("x"), peer.frames().close(1008, "x")):
        with pytest.raises(ClientGone):
            await write


async def test_another_error_of_sending_is_no_disconnect():
    peer = Peer()
    peer.failure = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        await peer.frames().send("x")


async def test_an_error_names_its_call_and_is_of_json_rpc_only_if_the_call_was():
    peer = Peer()
    error = ProcedureError("CONFLICT", "no", reason="stale")
    await peer.frames().send_error(7, error, "a.b")
    await peer.frames().send_error(7, error, "a.b", jsonrpc=True)
    plain, rpc = (json.loads(event["text"]) for event in peer.sent)
    assert (plain["id"], plain["error"]["data"]["path"]) == (7, "a.b")
    assert "jsonrpc" not in plain
    assert rpc["jsonrpc"] == "2.0"


async def test_the_reason_of_a_close_is_cut_between_characters():
    peer = Peer()
    await peer.frames().close(1011, "x" * 122 + "é")
    assert peer.sent == [{"type": "websocket.close", "code": 1011, "reason": "x" * 122}]


@pytest.mark.timeout(10)
async def test_a_client_that_takes_no_close_frame_is_left():
    peer = Peer()
    peer.blocked.clear()
    await peer.frames(close_seconds=0.01).close(1008, "x")
    assert peer.sent == []


async def test_frames_are_sent_one_at_a_time_and_in_order():
    peer = Peer()
    frames = peer.frames()
    peer.blocked.clear()
    sending = [asyncio.create_task(frames.send(text)) for text in "abc"]
    await asyncio.sleep(0)
    peer.blocked.set()
    await asyncio.gather(*sending)
    assert [event["text"] for event in peer.sent] == ["a", "b", "c"]
