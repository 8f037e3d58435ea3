"""The dashboard with a log of a gigabyte, and with 20,000 lines a second for a minute.

``python -m tests.bench.long_log`` needs 3 GB of disk and three minutes; ``--small`` takes a hundredth of both.
"""

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import psycopg

from cli import dashboard
from tests.bench import pace
from tests.bench.chromium import Browser, Page, chromium
from tests.bench.figures import Figure, median, percentile
from tests.bench.pixels import create, signed_in
from tests.bench.stage import Stage, main
from tests.bench.wire import LightClient
from tests.support.program import Cluster, until

_EVENT_BYTES = 60_000
_NEEDLE = "the needle"
_FRAMES = Path(__file__).with_name("frames.js").read_text()
_SHOWN = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
_LAST = "document.querySelector('.log')?.textContent.includes('last line')"
_END = "document.querySelector('.log-foot')?.textContent.includes('end of the log')"
_MAKE_ROOM = """
with moved as (
    update ado.events set seq = seq + %(count)s where task_id = %(task)s and seq > %(at)s
)
update ado.task_logs set last_seq = last_seq + %(count)s where task_id = %(task)s
"""
_COPY = "copy ado.events (task_id, seq, job, attempt, type, stream, at, stored_at, data) from stdin (format binary)"
_TYPES = ("int8", "int8", "int4", "int4", "text", "text", "timestamptz", "timestamptz", "bytea")


async def measure(stage: Stage) -> list[Figure]:
    """Open a long log, go back in it and search it; then follow a fast one."""
    dashboard.build()
    with stage.cluster(2) as cluster:
        cluster.add_worker("w1", url=cluster.urls[0])
        until(lambda: cluster.sql("select from ado.workers where started_at is not null"), "the worker")
        short = await _ended(cluster)
        long = await _ended(cluster)
        size = fill(cluster.dsn, int(long.partition("-")[2]), stage.pick(1_000_000_000, 10_000_000))
        async with chromium() as browser:
            figures = await _long(browser, cluster, short, long, size)
            figures += await _fast(browser, cluster, stage.pick(20_000, 20_000), stage.pick(60.0, 4.0))
    return figures


async def _ended(cluster: Cluster) -> str:
    name = await create(cluster, "echo first line; sleep 0.2; echo last line")
    task = int(name.partition("-")[2])
    until(lambda: cluster.sql("select from ado.tasks where task_id = %s and status = 'succeeded'", task), name)
    return name


def fill(dsn: str, task: int, size: int) -> int:
    """Put output behind the first line of an ended task; return how many bytes it is."""
    count = size // _EVENT_BYTES
    number, written = 0, 0
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "select min(seq), min(at) from ado.events where task_id = %s and type = 'output'", [task]
        ).fetchone()
        assert row is not None
        first, at = row
        connection.execute(_MAKE_ROOM, {"count": count, "task": task, "at": first})
        with connection.cursor().copy(_COPY) as copy:
            copy.set_types(_TYPES)
            for index in range(count):
                lines = [
                    f"line {number + line} of a long log, as a build or a test run writes it" for line in range(900)
                ]
                if index == 1:
                    lines[7] += f" with {_NEEDLE}"
                number += len(lines)
                data = ("\n".join(lines) + "\n").encode()
                written += len(data)
                copy.write_row((task, first + 1 + index, 0, 1, "output", "stdout", at, at, data))
    return written


async def _long(browser: Browser, cluster: Cluster, short: str, long: str, size: int) -> list[Figure]:
    opened = {name: [await _opening(browser, cluster, name) for _ in range(3)] for name in (short, long)}
    scrolled, linked = await _back(browser, cluster, long)
    calls, seconds = await _search(cluster, long)
    what = f"log of {size / 1e6:,.0f} MB"
    end = median(opened[long])
    return [
        Figure(
            f"{what}: address → its last line is painted",
            end, "ms", median(opened[short]), "≤ 1 s", end <= 1000, {"slowest ms": percentile(opened[long], 100)},
        ),
        Figure(
            f"{what}: at the top of what is loaded → older lines are painted, p50",
            median(scrolled), "ms", detail={"slowest ms": percentile(scrolled, 100), "pages": len(scrolled)},
        ),
        Figure(f"{what}: a link to a line in its middle → the line is painted", linked, "ms", median(opened[short])),
        Figure(
            f"{what}: a text that is only at its beginning is found by the server",
            seconds, "s", detail={"calls": calls, "MB a second": size / 1e6 / seconds},
        ),
    ]  # fmt: skip


async def _opening(browser: Browser, cluster: Cluster, name: str) -> float:
    async with browser.page(signed_in(cluster)) as page:
        await page.go(f"{cluster.urls[1]}/tasks/{name}")
        return await _when(page, _LAST)


async def _when(page: Page, expression: str) -> float:
    """Return when something was painted, in milliseconds of the page's own clock."""
    await page.until("document.readyState !== 'loading' && location.protocol !== 'about:'", 60)
    script = (
        "new Promise(done => { const look = () => { if ("
        + expression
        + f") {_SHOWN}.then(() => done(performance.now())); else setTimeout(look, 5) }}; look() }})"
    )
    return float(await page.value(script))


async def _back(browser: Browser, cluster: Cluster, name: str) -> tuple[list[float], float]:
    """Return the milliseconds of each older page, and of a link to a line."""
    async with browser.page(signed_in(cluster)) as page:
        await page.go(f"{cluster.urls[1]}/tasks/{name}")
        await _when(page, _LAST)
        took = [float(await page.value(_OLDER)) for _ in range(20)]
    middle = cluster.sql("select last_seq / 2 from ado.task_logs where task_id = %s", int(name.partition("-")[2]))
    async with browser.page(signed_in(cluster)) as page:
        await page.go(f"{cluster.urls[1]}/tasks/{name}#job=0&seq={middle[0][0]}")
        linked = await _when(page, "document.querySelector('.log-marked')?.getBoundingClientRect().top > 0")
    return took, linked


_OLDER = """new Promise(done => {
  const log = document.querySelector('.log'), began = performance.now();
  const first = () => log.querySelector('.log-text')?.textContent, before = first();
  log.scrollTop = 0;
  const look = () => {
    if (log.scrollTop > 400 && first() !== before) requestAnimationFrame(() => done(performance.now() - began));
    else { if (log.scrollTop === 0) log.dispatchEvent(new Event('scroll')); requestAnimationFrame(look) }
  };
  requestAnimationFrame(look);
})"""


async def _search(cluster: Cluster, name: str) -> tuple[int, float]:
    """Return in how many calls and seconds a text is found, from the log's end backwards."""
    client = await LightClient.open(cluster.urls[1], cluster.token)
    began, before, calls = time.perf_counter(), None, 0
    while True:
        calls += 1
        given = {"taskId": name, "text": _NEEDLE, **({} if before is None else {"before": before})}
        found = await client.call("tasks.search", given, "query")
        before = found.get("nextBefore")
        if found["items"] or before is None:
            break
    client.close()
    assert _NEEDLE in found["items"][0]["line"]
    return calls, time.perf_counter() - began


async def _fast(browser: Browser, cluster: Cluster, rate: int, seconds: float) -> list[Figure]:
    start = cluster.home / "start"
    program = f"{sys.executable} -I -S {pace.__file__} {rate} {seconds}"
    name = await create(cluster, f"echo ready; while [ ! -e {start} ]; do sleep 0.05; done; {program}; echo last line")
    async with browser.page(signed_in(cluster, _FRAMES)) as page:
        await page.go(f"{cluster.urls[1]}/tasks/{name}")
        await page.until("document.querySelector('.log')?.textContent.includes('ready')", 60)
        await page.value("gaps.length = 0")
        memory = [await _memory(page)]
        start.touch()
        for _ in range(4):
            await asyncio.sleep(seconds / 4)
            memory.append(await _memory(page))
        behind = time.monotonic()
        await page.until(f"{_LAST} && {_END}", 120)
        behind = time.monotonic() - behind
        found: dict[str, Any] = await page.value(
            "({gaps, left: [...document.querySelectorAll('.log-note')].filter("
            "line => line.textContent.includes('left out')).length})"
        )
    gaps = sorted(found["gaps"])
    p50, p99, most = (percentile(gaps, 50), percentile(gaps, 99), percentile(gaps, 100))
    what = f"{rate:,} lines/s for {seconds:.0f} s"
    return [
        Figure(
            f"{what}: time between two frames, p99",
            p99, "ms", 1000 / 60, "≤ 100 ms, none over 500 ms", p99 <= 100 and most <= 500,
            {"p50 ms": p50, "longest ms": most, "frames a second": len(gaps) / seconds, "behind at the end s": behind},
        ),
        Figure(f"{what}: memory of the page's scripts at the end", memory[-1], "MB", memory[0], detail=dict(zip(
            ("after a quarter MB", "half MB", "three quarters MB"), memory[1:4], strict=True,
        ))),
    ]  # fmt: skip


async def _memory(page: Page) -> float:
    """Return the megabytes that are used, of which some may be garbage."""
    return int(await page.value("performance.memory.usedJSHeapSize")) / 1e6


if __name__ == "__main__":
    main(measure)
