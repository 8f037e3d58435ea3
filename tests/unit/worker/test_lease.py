"""The heartbeat continues after failures."""

import asyncio

from support.program import write_token
from support.wire import Gate, Served

from app.rpc.server.gate import WireLimits
from worker.lease import Heartbeat, HeartbeatReport
from worker.settings import WorkerSettings
from worker.token import WorkerToken


def nothing(*_):
    pass


async def test_a_heartbeat_that_fails_is_followed_by_the_next(tmp_path):
    write_token(tmp_path / "token", "writer")
    beats = []

    def report():
        beats.append(1)
        if len(beats) == 1:
            raise RuntimeError("unforeseen")
        return HeartbeatReport([])

    async with Served(Gate(), WireLimits()) as served:
        settings = WorkerSettings(url=(served.url,), worker_id="w")
        registration = {"session": "s", "heartbeatSeconds": 0.05}
        heartbeat = Heartbeat(
            settings, WorkerToken(str(tmp_path / "token")), registration, report, nothing, nothing, nothing
        )
        try:
            async with asyncio.timeout(10):
                while len(beats) < 3:
                    await asyncio.sleep(0.01)
        finally:
            await heartbeat.stop(goodbye=False)


async def test_the_first_heartbeat_is_sent_without_delay(tmp_path):
    write_token(tmp_path / "token", "writer")
    reported = asyncio.Event()
    loop = asyncio.get_running_loop()

    def report():
        loop.call_soon_threadsafe(reported.set)
        return HeartbeatReport([])

    async with Served(Gate(), WireLimits()) as served:
        settings = WorkerSettings(url=(served.url,), worker_id="w")
        registration = {"session": "s", "heartbeatSeconds": 3600}
        heartbeat = Heartbeat(
            settings, WorkerToken(str(tmp_path / "token")), registration, report, nothing, nothing, nothing
        )
        try:
            async with asyncio.timeout(10):
                await reported.wait()
        finally:
            await heartbeat.stop(goodbye=False)
