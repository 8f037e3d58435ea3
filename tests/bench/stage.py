"""What every benchmark stands on: a durable Postgres of its own, replicas as processes, and what they cost.

``main`` is the command line of one benchmark; ``run_all`` gives all of them one stage.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import psycopg
import uvloop

from db.embedded import EmbeddedServer
from db.migrate import migrate
from tests.bench.figures import Figure, report, table
from tests.support.postgres import described, dsn_of
from tests.support.program import Cluster

DEFAULTS = {"ADO_HEARTBEAT_SECONDS": "5", "ADO_SUSPECT_SECONDS": "15", "ADO_LEASE_SECONDS": "30"}
_BRIEF_END = {"ADO_DRAIN_SECONDS": "0.1"}  # the load's sockets, left open, move nowhere
_TICKS = os.sysconf("SC_CLK_TCK")


class Stage:
    """One Postgres; ``small`` asks every benchmark for just enough to see that it works."""

    def __init__(self, *, small: bool = False) -> None:
        self.small = small
        self._directory = Path(tempfile.mkdtemp(prefix="ado-bench-", dir="/var/tmp"))
        self._directory.chmod(0o755)
        self._server = EmbeddedServer(self._directory / "pg")
        self._dsn = ""
        self._numbers = itertools.count()

    def __enter__(self) -> "Stage":
        try:
            self._dsn = self._server.start()
        except BaseException:
            shutil.rmtree(self._directory)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def pick(self, full: Any, small: Any) -> Any:
        """Return the size to run at."""
        return small if self.small else full

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """A migrated database."""
        with self.empty_database() as dsn:
            migrate(dsn)
            yield dsn

    @contextlib.contextmanager
    def empty_database(self) -> Iterator[str]:
        """A database without a schema."""
        name = f"bench_{next(self._numbers)}"
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            connection.execute(f"create database {name}")
        try:
            yield dsn_of(described(self._dsn), name)
        finally:
            with psycopg.connect(self._dsn, autocommit=True) as connection:
                connection.execute(f"drop database {name} with (force)")

    @contextlib.contextmanager
    def cluster(self, replicas: int = 2, **env: str) -> Iterator[Cluster]:
        """Replicas over a database of their own, with the default settings unless others are given."""
        with self.database() as dsn, self.replicas(dsn, replicas, **env) as made:
            yield made

    @contextlib.contextmanager
    def replicas(self, dsn: str, count: int, **env: str) -> Iterator[Cluster]:
        """Replicas over a database that is there."""
        home = self._directory / f"home-{next(self._numbers)}"
        home.mkdir()
        made = Cluster(dsn, home, env={**DEFAULTS, **_BRIEF_END, **env})
        try:
            yield made.add_replicas(count)
        finally:
            made.close()

    def postgres_cpu(self) -> float:
        """Return the CPU seconds of Postgres so far."""
        children = [pid for pid, parent in _parents().items() if parent == self._server.pid]
        return sum(cpu(pid) for pid in children) + cpu(self._server.pid, ended_children=True)


def cpu(pid: int, *, ended_children: bool = False) -> float:
    """Return the CPU seconds of a process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11 : 15 if ended_children else 13])) / _TICKS


def resident(pid: int) -> int:
    """Return the bytes of memory of a process that it shares with nobody."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty:"):
            return int(line.split()[1]) * 1024
    return 0


def _parents() -> dict[int, int]:
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                found[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    return found


Measure = Callable[[Stage], Awaitable[list[Figure]]]


def run(measure: Measure, stage: Stage, module: str) -> list[Figure]:
    """Run one benchmark; its figures carry the command that makes them."""
    figures = uvloop.run(measure(stage))  # type: ignore[arg-type]
    return [replace(figure, command=f"python -m tests.bench.{module}") for figure in figures]


def main(measure: Measure) -> None:
    """Run one benchmark from the command line: the table on stderr, JSON on stdout."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--small", action="store_true", help="only see that it works")
    parser.add_argument("--busy", type=int, default=0, help="so many other processes that compute all the time")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that Postgres, replicas and the load end, too
    with Stage(small=options.small) as stage, busy(options.busy):
        figures = run(measure, stage, _module())
    sys.stderr.write(f"{table(figures)}\n")
    sys.stdout.write(orjson.dumps(report(figures), option=orjson.OPT_INDENT_2).decode() + "\n")


def _module() -> str:
    """Return the name below ``tests.bench`` of the module or package that runs."""
    spec = sys.modules["__main__"].__spec__
    return spec.name.removeprefix("tests.bench.").removesuffix(".__main__") if spec else ""


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Other work for the cores: processes that compute all the time, beside the floor as beside the product."""
    processes = [subprocess.Popen([sys.executable, "-I", "-S", "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


async def gather_for(seconds: float, jobs: list[Awaitable[Any]]) -> None:
    """Run jobs for so long, then cancel what still runs; a failure of one is raised."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
