"""How a WebSocket's caller shows who it is, and what a refused one is told."""

import asyncio
import json
from dataclasses import replace

import pytest
from support.wire import Gate

from app.rpc.server import websocket_opening
from app.rpc.server.gate import WireLimits
from app.rpc.server.websocket_frames import ClientGone, Frames
from app.rpc.server.websocket_opening import open_context

LIMITS = WireLimits(opening_bytes=100, opening_seconds=5.0, batch_calls=2)
pytestmark = pytest.mark.timeout(10)


class Peer:
    """The server's side of ASGI: gives frames, then ``last`` or silence; notes what is sent."""

    def __init__(self, *texts, last=None):
        self.messages = [{"type": "websocket.receive", "text": text} for text in texts]
        self.messages += [] if last is None else [last]
        self.sent = []

    async def receive(self):
        if not self.messages:
            await asyncio.Event().wait()
        return self.messages.pop(0)

    async def send(self, event):
        self.sent.append(event)

    @property
    def texts(self):
        return [event["text"] for event in self.sent if event["type"] == "websocket.send"]

    @property
    def errors(self):
        """Return id and code of each error."""
        frames = [json.loads(text) for text in self.texts]
        return [(frame["id"], frame["error"]["data"]["code"]) for frame in frames]

    @property
    def closed(self):
        return [(event["code"], event["reason"]) for event in self.sent if event["type"] == "websocket.close"]


async def opening(peer, query="connectionParams=1", *, token=None, gate=None, limits=LIMITS):
    headers = [] if token is None else [(b"authorization", f"Bearer {token}".encode())]
    scope = {"headers": headers, "query_string": query.encode()}
    frames = Frames(peer.receive, peer.send, close_seconds=1.0)
    return await open_context(gate or Gate(), limits, scope, frames)


def params(token):
    return json.dumps({"method": "connectionParams", "data": {"token": token}})


def call(number):
    return {"id": number, "method": "query", "params": {"path": "a.null"}}


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Have a refused caller's calls waited for only a moment."""
    monkeypatch.setattr(websocket_opening, "_REFUSED_SECONDS", 0.3)
    monkeypatch.setattr(websocket_opening, "_REFUSED_NEXT_SECONDS", 0.3)


async def test_a_caller_shows_its_token_in_the_upgrade_or_in_the_first_frame():
    assert await opening(Peer(), "", token="reader") == "reader"
    assert await opening(Peer(params("writer"))) == "writer"
    assert await opening(Peer(params("writer")), "connectionParams=0", token="reader") == "reader"


async def test_pings_before_the_first_frame_are_answered():
    peer = Peer("PING", "PONG", "PING", params("writer"))
    assert await opening(peer) == "writer"
    assert peer.texts == ["PONG", "PONG"]


async def test_the_frames_before_the_caller_is_known_have_a_limit_together():
    frame = params("writer")
    fitting, over = (Peer(*["PING"] * ((100 - len(frame)) // 4), frame + " " * extra) for extra in (
        (100 - len(frame)) % 4, (100 - len(frame)) % 4 + 1
    ))  # fmt: skip
    assert await opening(fitting) == "writer"
    assert await opening(over) is None
    assert json.loads(over.texts[-1])["error"]["data"]["code"] == "PAYLOAD_TOO_LARGE"
    assert over.closed == [(1008, "the first frame is too large")]


async def test_a_caller_that_sends_no_parameters_is_closed():
    peer = Peer()
    assert await opening(peer, limits=replace(LIMITS, opening_seconds=0.05)) is None
    assert (peer.texts, peer.closed) == ([], [(1008, "no connectionParams came within 0.05 s")])


async def test_a_client_that_has_gone_is_told_nothing():
    peer = Peer(last={"type": "websocket.disconnect"})
    with pytest.raises(ClientGone):
        await opening(peer)
    assert peer.sent == []


async def test_a_refused_caller_is_told_so_for_the_socket_and_for_each_of_its_calls():
    peer = Peer("PING", json.dumps(call(1)), "PONG", json.dumps([call(2), call(3)]))
    assert await opening(peer, "", token="unknown") is None
    assert peer.errors == [(None, "UNAUTHORIZED"), *((number, "UNAUTHORIZED") for number in (1, 2, 3))]
    assert peer.closed == [(1008, "who are you?")]


@pytest.mark.parametrize("text", ["no JSON", json.dumps([call(1), call(2), call(3)])])
async def test_frames_that_are_no_calls_or_too_many_end_the_refusal(text):
    peer = Peer(text, json.dumps(call(4)))
    assert await opening(peer, "", token="unknown") is None
    assert peer.errors == [(None, "UNAUTHORIZED")]
    assert peer.closed == [(1008, "who are you?")]


async def test_a_failure_of_the_application_is_an_envelope_without_its_text():
    class Failing(Gate):
        async def open(self, credentials):
            raise ZeroDivisionError("a secret of the server")

    peer = Peer()
    assert await opening(peer, "", token="reader", gate=Failing()) is None
    assert peer.errors == [(None, "INTERNAL_SERVER_ERROR")]
    assert "secret" not in str(peer.sent)
