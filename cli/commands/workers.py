"""``ado workers``."""

from __future__ import annotations

import sys
import time
from typing import Any

from cyclopts import App

from cli import exits
from cli.agents import offers
from cli.output import table, write_items, write_json, write_line, write_lines, write_one
from cli.remote.connection import NO_OPTIONS, Options, choose, http
from cli.remote.fleet import spawner_trouble
from cli.remote.listing import whole, workers_status
from cli.render.terminal import is_terminal

_WATCH_SECONDS = 1.0
workers = App(name="workers", help="Show, drain and scale workers.", help_format="plaintext")


def _rows(found: list[dict[str, Any]]) -> list[list[str]]:
    rows = [["worker", "state", "slots", "jobs", "sandbox", "offers", "host"]]
    for worker in found:
        held = ", ".join(job["jobId"].removeprefix("task-") for job in worker["jobs"]) or "-"
        slots, offered = str(worker["slots"]), ", ".join(offers(worker))
        sandbox = (worker.get("labels") or {}).get("sandbox", "-")
        rows.append([worker["workerId"], worker["state"], slots, held, sandbox, offered, worker.get("host") or "-"])
    return rows


def _problems(found: list[dict[str, Any]]) -> list[str]:
    return [f"{worker['workerId']} takes no jobs: {worker['problem']}" for worker in found if worker.get("problem")]


def _spawner_troubles(found: list[dict[str, Any]]) -> list[str]:
    troubles = {spawner["spawnerId"]: spawner_trouble(spawner) for spawner in found}
    return [f"spawner {name}: {trouble}" for name, trouble in troubles.items() if trouble]


@workers.command
def status(*, watch: bool = False, options: Options = NO_OPTIONS) -> int:
    """Show the workers, and what waits.

    Parameters
    ----------
    watch
        Show it again every second.
    """
    client = http(choose(options))
    while True:
        found = workers_status(client)
        if options.as_json:
            write_json(found)
        elif options.output == "name":
            write_lines([worker["workerId"] for worker in found["workers"]])
        else:
            if watch and is_terminal(sys.stdout):
                print("\x1b[H\x1b[2J", end="")
            counts = ", ".join(f"{count} {state}" for state, count in sorted(found["counts"].items())) or "none"
            queue = found["queue"]
            write_line(f"workers: {counts}   jobs: {queue['queued']} queued, {queue['running']} running")
            write_lines(table(_rows(found["workers"])))
            write_lines(_problems(found["workers"]))
            write_lines(_spawner_troubles(found.get("spawners", [])))
        if not watch:
            return exits.SUCCESS
        time.sleep(_WATCH_SECONDS)


@workers.command(name="list")
def list_(*, state: str | None = None, options: Options = NO_OPTIONS) -> int:
    """List the workers, those that ended lately included.

    Parameters
    ----------
    state
        starting, idle, busy, suspect, draining, dead or stopped.
    """
    found = whole(http(choose(options)), "workers.list", {"state": state})
    write_items(found, options.output, "workerId", _rows(found["items"]))
    return exits.SUCCESS


@workers.command
def drain(worker: str, /, *, options: Options = NO_OPTIONS) -> int:
    """Let a worker finish what it has and end.

    Parameters
    ----------
    worker
        The worker's id.
    """
    found = http(choose(options)).mutate("workers.drain", {"workerId": worker})
    write_one(found, options.output, "workerId", note=f"{worker} is {found['state']}")
    return exits.SUCCESS


@workers.command
def scale(count: int, /, *, capability: list[str] | None = None, options: Options = NO_OPTIONS) -> int:
    """Keep so many workers even when the queue is empty.

    Parameters
    ----------
    count
        How many.
    capability
        What they must offer.
    """
    found = http(choose(options)).mutate("workers.scale", {"count": count, "capabilities": capability or []})
    kept = str(found["count"])
    write_one(
        {**found, "name": kept},
        options.output,
        "name",
        note=f"{kept} {'worker is' if kept == '1' else 'workers are'} kept",
    )
    return exits.SUCCESS
