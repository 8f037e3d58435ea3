"""What a person sees: from an agent's write to a painted line of the dashboard, and the dashboard's first view.

A real Chromium without a window paints sixty frames a second. A line counts as painted when the frame after its own
begins, so the figure holds up to one frame too much and never too little.
"""

import asyncio
import gzip
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from cli import dashboard
from tests.bench import floor, pace
from tests.bench.chromium import Browser, chromium
from tests.bench.figures import Figure, median, percentile, spread
from tests.bench.stage import Stage, main
from tests.bench.wire import LightClient
from tests.support.program import Cluster, until

RATES = (20, 1000)
_STAMP = re.compile(rb"\d{19}")
_NANOSECONDS = 1e9
_PAINTED = Path(__file__).with_name("pixels.js").read_text()
_END = "document.querySelector('.log-foot')?.textContent.includes('end of the log')"
_READY = "document.querySelector('.log')?.textContent.includes('ready')"
_LIBRARIES = """
import { createTRPCClient, createWSClient, httpBatchLink, splitLink, wsLink } from '@trpc/client';
import { render } from 'preact';
import { useState } from 'preact/hooks';
console.log(createTRPCClient, createWSClient, httpBatchLink, splitLink, wsLink, render, useState);
"""


async def measure(stage: Stage) -> list[Figure]:
    """Run each rate on the floor, through the CLI and through the page, in turn; then open the first view."""
    seconds = stage.pick(8.0, 3.0)
    figures = []
    dashboard.build()
    with stage.cluster(2) as cluster, stage.database() as bare:
        cluster.add_worker("w1", url=cluster.urls[0])
        until(lambda: cluster.sql("select from ado.workers where started_at is not null"), "the worker")
        async with chromium() as browser:
            for rate in stage.pick(RATES, (100,)):
                least = spread(await floor.stream(bare, rate, seconds))
                printed = spread(await _attached(cluster, rate, seconds))
                in_document, painted = await _painted(browser, cluster, rate, seconds)
                figures += _latencies(rate, least, printed, spread(in_document), spread(painted))
            figures += await _first_view(browser, cluster, stage.pick(9, 2))
    return figures


def _latencies(rate: int, least: Any, printed: Any, in_document: Any, painted: Any) -> list[Figure]:
    p50, p99 = painted["p50Ms"], painted["p99Ms"]
    detail = {"lines": painted["count"], "in the document p50 ms": in_document["p50Ms"]}
    cli = {"lines": printed["count"]}
    return [
        Figure(f"write → pixels, {rate:,} lines/s, p50", p50, "ms", least["p50Ms"], "≤ 50 ms", p50 <= 50, detail),
        Figure(f"write → pixels, {rate:,} lines/s, p99", p99, "ms", least["p99Ms"]),
        Figure(f"write → ado attach, {rate:,} lines/s, p50", printed["p50Ms"], "ms", least["p50Ms"], detail=cli),
        Figure(f"write → ado attach, {rate:,} lines/s, p99", printed["p99Ms"], "ms", least["p99Ms"]),
    ]


def signed_in(cluster: Cluster, script: str = "") -> str:
    """Return the script that signs a page in, with another one that runs before the page's own."""
    return f"sessionStorage.setItem('ado.token', '{cluster.token}');{script}"


async def create(cluster: Cluster, prompt: str) -> str:
    """Create a task of the shell's and return its name."""
    client = await LightClient.open(cluster.urls[0], cluster.token)
    name: str = (await client.call("tasks.create", {"prompt": prompt, "agent": "shell"}))["taskId"]
    client.close()
    return name


def _writer(cluster: Cluster, rate: float, seconds: float) -> str:
    """Return a prompt that waits for a file, so that the viewer is there first, and then writes at a rate."""
    start = cluster.home / "start"
    start.unlink(missing_ok=True)
    program = f"exec {sys.executable} -I -S {pace.__file__} {rate} {seconds}"
    return f"echo ready; while [ ! -e {start} ]; do sleep 0.05; done; {program}"


async def _attached(cluster: Cluster, rate: float, seconds: float) -> list[float]:
    name = await create(cluster, _writer(cluster, rate, seconds))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "cli", "attach", name,
        env=cluster.client_env(cluster.urls[1]), stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    took: list[float] = []
    first = 0
    while data := await process.stdout.read(2**18):
        now = time.time_ns()
        if not first:
            (cluster.home / "start").touch()
        for stamp in map(int, _STAMP.findall(data)):
            first = first or stamp
            if stamp - first > pace.WARM_NANOSECONDS:
                took.append((now - stamp) / _NANOSECONDS)
    await process.wait()
    return took


async def _painted(browser: Browser, cluster: Cluster, rate: float, seconds: float) -> tuple[list[float], list[float]]:
    """Return the seconds from each line's write until it was in the document, and until it was painted."""
    name = await create(cluster, _writer(cluster, rate, seconds))
    async with browser.page(signed_in(cluster, _PAINTED)) as page:
        await page.go(f"{cluster.urls[1]}/tasks/{name}")
        await page.until(_READY, 60)
        (cluster.home / "start").touch()
        await asyncio.sleep(seconds)
        await page.until(_END, 60)
        rows = [(int(stamp), inside, painted) for stamp, inside, painted in await page.value("painted")]
    data = cluster.sql(
        "select data from ado.events where task_id = %s and type = 'output' order by seq", int(name.partition("-")[2])
    )
    return _of_all([int(stamp) for row in data for stamp in _STAMP.findall(bytes(row[0]))], sorted(rows))


def _of_all(stamps: list[int], rows: list[tuple[int, float, float]]) -> tuple[list[float], list[float]]:
    """Return the seconds of all lines; one that a frame scrolled past came with the next one that was seen."""
    in_document, painted, place = [], [], 0
    for stamp in stamps:
        while rows[place][0] < stamp:
            place += 1
        if stamp - stamps[0] > pace.WARM_NANOSECONDS:
            in_document.append(rows[place][1] / 1e3 - stamp / _NANOSECONDS)
            painted.append(rows[place][2] / 1e3 - stamp / _NANOSECONDS)
    return in_document, painted


async def _first_view(browser: Browser, cluster: Cluster, rounds: int) -> list[Figure]:
    """Open the list of tasks in new contexts; the floor is a page of a few bytes from the same replica."""
    whole, bare, sizes = [], [], [0]
    for _ in range(rounds):
        async with browser.page(signed_in(cluster, _PAINTED)) as page:
            await page.go(f"{cluster.urls[1]}/tasks")
            whole.append(await page.value("firstView"))
            sizes = await page.value(
                "performance.getEntries().filter(entry => entry.encodedBodySize > 0 && !/trpc/.test(entry.name))"
                ".map(entry => entry.encodedBodySize)"
            )
        async with browser.page(signed_in(cluster)) as page:
            await page.go(f"{cluster.urls[1]}/healthz")
            frame = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
            bare.append(await page.value(f"{frame}.then(() => performance.now())"))
    shown, size = median(whole), sum(sizes)
    return [
        Figure(
            "dashboard, address → the first task's link can be clicked, empty cache",
            shown, "ms", median(bare), "≤ 1 s", shown <= 1000, {"slowest ms": percentile(whole, 100)},
        ),
        Figure(
            "dashboard, first view, as compressed as it travels",
            size / 1000, "kB", _libraries() / 1000, "≤ 300 kB", size <= 300_000, {"files": len(sizes)},
        ),
    ]  # fmt: skip


def _libraries() -> int:
    """Return the compressed size of the libraries alone, bundled like the dashboard."""
    node, _ = dashboard.find_node() or ("node", [])
    command = [node, "node_modules/esbuild/bin/esbuild", "--bundle", "--minify", "--format=esm"]
    done = subprocess.run(command, cwd=dashboard.WEB, input=_LIBRARIES.encode(), stdout=subprocess.PIPE, check=True)
    return len(gzip.compress(done.stdout))


if __name__ == "__main__":
    main(measure)
