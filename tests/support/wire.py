"""A small registry behind the real wire on a real uvicorn."""

import asyncio
import http.client
import json
from functools import partial

import msgspec
import orjson
import uvicorn

from app.replica.connections import ConnectionLimits, Peers
from app.replica.http_protocol import ReplicaHttpProtocol
from app.replica.websocket_protocol import ReplicaWebSocket
from app.rpc.client import ABSENT
from app.rpc.errors import ProcedureError
from app.rpc.request_id import RequestIds
from app.rpc.server.application import RpcApplication
from app.rpc.server.procedure import Tracked, mutation, query, subscription
from app.rpc.server.registry import Registry


class Named(msgspec.Struct):
    """An input."""

    name: str
    count: int = 1


class Counter(msgspec.Struct, rename="camel"):
    """A resumable input."""

    until: int
    last_event_id: str | None = None


@query(access="read")
async def greet(context, input: Named) -> dict:
    return {"hello": input.name * input.count, "by": context}


@query(access="read")
async def nothing(context) -> None:
    return ABSENT


@query(access="read")
async def null(context) -> None:
    return None


@mutation(access="write")
async def store(context, input: Named) -> dict:
    return orjson.Fragment(b'{"stored":"' + input.name.encode() + b'"}')


@query(access="read")
async def crash(context) -> None:
    raise ZeroDivisionError("a secret of the server")


@query(access="read")
async def refuse(context) -> None:
    raise ProcedureError("CONFLICT", "no", reason="stale", hint="again", version=4)


@subscription(access="read")
async def count(context, input: Counter):
    for number in range(int(input.last_event_id or 0) + 1, input.until + 1):
        yield Tracked(str(number), {"n": number})
        await asyncio.sleep(0)


@subscription(access="read")
async def broken(context):
    yield Tracked("1", "here")
    raise ProcedureError("CONFLICT", "no more", reason="stale")


@subscription(access="read")
async def flood(context):
    number = 0
    while True:
        number += 1
        FLOODED.append(number)
        yield Tracked(str(number), "x" * 100_000)


@query(access="read")
async def slow(context) -> str:
    await asyncio.sleep(0.2)
    return "slow"


@query(access="read")
async def hang(context) -> None:
    await asyncio.Event().wait()


@subscription(access="read")
async def wait(context):
    yield "here"
    await asyncio.Event().wait()


ROOM = ConnectionLimits(connections=1000, of_address=0, opening_of_address=100, stalled_seconds=60.0)
"""Limits that no test reaches which is about something else."""

FLOODED = []
"""The items that ``flood`` has yielded."""


class Gate:
    """Accepts the tokens ``reader`` and ``writer``."""

    def __init__(self):
        self.revoked = set()
        self.observed = []
        self.refusals = []
        self.away = False
        self.failing = False

    async def open(self, credentials):
        name = (credentials.authorization or "").removeprefix("Bearer ") or credentials.params.get("token")
        if name not in ("reader", "writer"):
            raise ProcedureError("UNAUTHORIZED", "who are you?", reason="token_invalid")
        return name

    def is_known(self, context):
        return True

    def allow(self, context, procedure):
        if self.away:
            raise ProcedureError("SERVICE_UNAVAILABLE", "the database is away", reason="database_unavailable")
        if procedure.access == "write" and context != "writer":
            raise ProcedureError("FORBIDDEN", "not you", reason="forbidden")

    async def check(self, context):
        if self.failing:
            raise ZeroDivisionError("a secret of the server")
        if context in self.revoked:
            raise ProcedureError("UNAUTHORIZED", "not any more", reason="token_invalid")

    def explain(self, error):
        return None

    def refused(self, context, procedure, value, error):
        self.refusals.append((context, procedure.handler.__name__, error.reason))

    def observe(self, path, transport, code, seconds):
        self.observed.append((path, transport, code))


REGISTRY = Registry(
    {"a.greet": greet, "a.nothing": nothing, "a.null": null, "a.store": store, "a.crash": crash, "a.refuse": refuse,
     "a.count": count, "a.wait": wait, "a.broken": broken, "a.flood": flood, "a.slow": slow,
     "a.hang": hang}
)  # fmt: skip


class Served:
    """The application on a port of its own."""

    def __init__(self, gate, limits, room=ROOM, trusted=(), registry=REGISTRY):
        self.gate = gate
        self.application = RpcApplication(registry, gate, limits)
        self.peers = Peers(room, trusted)
        self.config = uvicorn.Config(
            RequestIds(self.application),
            port=0,
            log_level="critical",
            http=partial(ReplicaHttpProtocol, peers=self.peers, limits=limits),
            h11_max_incomplete_event_size=limits.opening_bytes,
            ws=partial(ReplicaWebSocket, limits=limits),
            ws_per_message_deflate=False,
            lifespan="off",
            ws_max_size=limits.body_bytes,
            proxy_headers=bool(trusted),
            forwarded_allow_ips=list(trusted),
        )
        self.server = uvicorn.Server(self.config)

    async def __aenter__(self):
        """Start what uvicorn's serve() starts, without its loop, which looks ten times a second whether to stop."""
        self.config.load()
        self.server.lifespan = self.config.lifespan_class(self.config)
        await self.server.startup()
        await self.server.on_tick(0)
        self.watching = asyncio.create_task(self.peers.watch())
        self.port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_):
        for server in self.server.servers:
            server.close()
        state = self.server.server_state
        for connection in list(state.connections):
            connection.shutdown()
        async with asyncio.timeout(60):
            while state.tasks:
                await asyncio.sleep(0.002)
            for connection in list(state.connections):  # its client does not read the last frames
                connection.transport.abort()
            while state.connections:
                await asyncio.sleep(0)
        self.watching.cancel()
        await asyncio.gather(self.watching, return_exceptions=True)


async def request(served, method, path, body=None, **headers):
    """Send a raw request and return status and JSON."""

    def exchange():
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
        fields = {
            "authorization": "Bearer writer",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        if body is not None:
            fields.setdefault("content-type", "application/json")
        connection.request(method, path, body, fields)
        response = connection.getresponse()
        text = response.read()
        connection.close()
        return response.status, json.loads(text) if text else None

    return await asyncio.to_thread(exchange)


class Stream:
    """An answer that is read while it arrives."""

    def __init__(self, served, path, method="GET", body=None, **headers):
        self.connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        fields.setdefault("authorization", "Bearer writer")
        if body is not None:
            fields.setdefault("content-type", "application/json")
        self.connection.request(method, path, body, fields)
        self.response = self.connection.getresponse()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.response.close()
        self.connection.close()

    def events(self):
        """Yield events as dicts of their fields."""
        event = {}
        while line := self.response.readline():
            text = line.decode().rstrip("\n")
            if text:
                name, _, value = text.partition(": ")
                event[name] = value
            elif event:
                yield event
                event = {}

    def lines(self):
        """Return the JSON of every line; the last line must end with a line feed."""
        text = self.response.read().decode()
        assert text.endswith("\n")
        return [json.loads(line) for line in text.splitlines()]
