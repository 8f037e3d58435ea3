"""``ado doctor --latency``: how long output takes from a worker to here, on the user's own server.

A small task writes a line every few milliseconds; each carries the worker's time of the write. Where the worker is on
this machine the clocks are one. Elsewhere the times are corrected by what the server knows: this clock against the
replica's (half a round trip), the replica's against the database's, the database's against the worker's (from its
heartbeat, so that the figure may be too small by the way of a heartbeat, never too large).
"""

from __future__ import annotations

import asyncio
import contextlib
import platform
import time
from datetime import datetime
from typing import Any

from app.rpc.client import CallError, Client, NoAnswer
from app.rpc.client.tls import Trust
from cli import exits
from cli.errors import CliError
from cli.remote.checked_calls import socket
from cli.remote.contexts import ServerContext
from cli.remote.health_pages import page
from cli.remote.listing import workers_status_on

_LINES = 100
_PAUSE = 0.02
_SCRIPTS = {
    "shell": f"i=0; while [ $i -lt {_LINES} ]; do echo $i; i=$((i+1)); sleep {_PAUSE}; done",
    "scripted": f'{{"repeat": {_LINES}, "steps": [{{"say": "line"}}, {{"sleep": {_PAUSE}}}]}}',
}
_FIRST_CONTACT_SECONDS = 10.0


def measure(server: ServerContext, within: float) -> dict[str, Any]:
    """Run the task and return the measured times. Raises CliError if no worker starts it in time."""
    return asyncio.run(_measure(server, within))


async def _measure(server: ServerContext, within: float) -> dict[str, Any]:
    async with socket(server, first_contact_seconds=_FIRST_CONTACT_SECONDS) as client:
        agent = await _agent(client)
        members = {"prompt": _SCRIPTS[agent], "agent": agent, "labels": {"ado": "doctor"}, "timeoutSeconds": 60}
        task: str = (await client.mutate("tasks.create", members))["taskId"]
        try:
            worker, delays = await _watch(client, task, within)
        except BaseException:
            with contextlib.suppress(CallError, NoAnswer):
                await client.mutate("tasks.cancel", {"taskId": task})
            raise
        measured = await client.mutate("system.measure", {"workerId": worker})
        hosts = {item["workerId"]: item.get("host") for item in (await client.query("workers.list"))["items"]}
    behind = await asyncio.to_thread(_behind, server.urls[0], server.trust)
    clocks, offset = _clocks(measured, behind, is_same_host=hosts.get(worker) == platform.node())
    times = sorted(max(0.0, seconds * 1000 + offset) for seconds in delays)
    latency = {"p50Ms": _percentile(times, 0.5), "p99Ms": _percentile(times, 0.99), "count": len(times)}
    database = {name: round(measured[name], 3) for name in ("notifyMs", "commitMs", "flushMs") if name in measured}
    return {"latency": latency, "database": database, "clocks": clocks, "workerId": worker, "taskId": task}


async def _agent(client: Client) -> str:
    """Return an agent that live workers offer; shell if none does, because a spawner may start one."""
    status = await workers_status_on(client)
    live = [worker for worker in status["workers"] if worker["state"] in ("idle", "busy")]
    offered = {name for worker in live for name in worker["capabilities"]}
    return next((name for name in _SCRIPTS if name in offered), "shell")


async def _watch(client: Client, task: str, within: float) -> tuple[str, list[float]]:
    """Return the worker, and for each write the arrival by this clock minus the write by the worker's, in seconds."""
    worker, delays = "", []
    try:
        async with asyncio.timeout(within) as beginning:
            async for item in client.subscribe("stream.taskEvents", {"taskId": task}):
                now, event = time.time(), item.data
                if event["type"] == "started":
                    beginning.reschedule(None)
                    worker = event["workerId"]
                elif event["type"] == "output" and event["stream"] == "stdout":
                    delays.append(now - datetime.fromisoformat(event["at"]).timestamp())
    except TimeoutError:
        raise CliError(
            f"no worker began with the task within {within:.0f} s",
            "start one with ado worker, or a spawner with ado spawner; ado doctor says what is missing",
            exits.INFRASTRUCTURE,
            "no_worker",
        ) from None
    if not delays:
        raise CliError(f"{task} wrote nothing", f"see why: ado tasks show {task}", exits.FAILED, "no_output")
    return worker, delays


def _behind(url: str, trust: Trust) -> float:
    """Return how many milliseconds this clock is behind the replica's, from the fastest of five round trips."""
    samples = []
    for _ in range(5):
        shape, took = page(url, "/healthz", trust)
        middle = time.time() - took / 2
        samples.append((took, datetime.fromisoformat(shape["time"]).timestamp() - middle))
    return min(samples)[1] * 1000


def _clocks(measured: dict[str, Any], behind: float, *, is_same_host: bool) -> tuple[dict[str, Any], float]:
    """Return how the clocks were compared, and the correction in milliseconds for a delay between worker and here."""
    if is_same_host or "workerBehindMs" not in measured:
        how = "on this machine, one clock" if is_same_host else "its clock is not known"
        return {"how": how, "correctedMs": 0.0}, 0.0
    offset = behind + measured["replicaBehindMs"] - measured["workerBehindMs"]
    how = f"its clock is {-offset:+.1f} ms from this one, which was taken into account"
    return {"how": how, "correctedMs": round(offset, 3)}, offset


def _percentile(ordered: list[float], part: float) -> float:
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * part))], 3)
