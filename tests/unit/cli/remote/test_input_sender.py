"""Stdin goes to a replica that accepts it; a server without one is reported."""

import asyncio
import base64

import pytest
from support.wire import Gate, Served

from app.procedures.job_input import SendInput
from app.rpc.client import retry
from app.rpc.server.gate import WireLimits
from app.rpc.server.procedure import mutation
from app.rpc.server.registry import Registry
from cli.errors import CliError
from cli.remote import input_sender
from cli.remote.contexts import ServerContext

LIMITS = WireLimits(body_bytes=4_000_000, recheck_seconds=1.0, subscriptions=3, batch_calls=5)


@pytest.fixture
def stdin(monkeypatch):
    """Two reads of stdin, and its end."""
    reads = [b"ab", b"c", b""]
    monkeypatch.setattr(input_sender, "_next_chunk", lambda: reads.pop(0))


async def test_a_replica_of_an_older_release_is_left_for_one_that_takes_input(stdin):
    got, ended = bytearray(), asyncio.Event()

    @mutation(access="write")
    async def take(context, input: SendInput) -> dict:
        assert input.offset == len(got)
        got.extend(base64.b64decode(input.data))
        if input.end:
            ended.set()
        return {"acknowledged": len(got)}

    async with Served(Gate(), LIMITS) as old, Served(Gate(), LIMITS, registry=Registry({"tasks.input": take})) as new:
        sender = input_sender.InputSender(ServerContext((old.url, new.url), "writer"), "task-1")
        sender.start()
        async with asyncio.timeout(60):
            await ended.wait()
        sender.stop()
    assert got == b"abc"


async def test_older_replicas_are_reported_with_the_next_step(stdin, monkeypatch):
    monkeypatch.setattr(retry, "UPGRADE_SECONDS", 0.0)
    async with Served(Gate(), LIMITS) as old:
        sender = input_sender.InputSender(ServerContext((old.url,), "writer"), "task-1")
        sender.start()
        with pytest.raises(CliError, match=r"of an older release, which has no tasks\.input") as raised:
            async with asyncio.timeout(60):
                await sender.refused
    assert "ado cancel task-1" in raised.value.next_step


async def test_an_idle_sender_reports_its_presence_in_every_call(monkeypatch):
    reads, got, ended = [None, b"ab", None, b""], [], asyncio.Event()
    monkeypatch.setattr(input_sender, "_next_chunk", lambda: reads.pop(0))

    @mutation(access="write")
    async def take(context, input: SendInput) -> dict:
        got.append((input.offset, base64.b64decode(input.data), input.end, input.alive))
        if input.end:
            ended.set()
        return {"acknowledged": got[-1][0] + len(got[-1][1])}

    async with Served(Gate(), LIMITS, registry=Registry({"tasks.input": take})) as served:
        sender = input_sender.InputSender(ServerContext((served.url,), "writer"), "task-1")
        sender.start()
        async with asyncio.timeout(60):
            await ended.wait()
        sender.stop()
    assert got == [(0, b"", False, True), (0, b"ab", False, True), (2, b"", False, True), (2, b"", True, True)]
