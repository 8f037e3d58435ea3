"""``ado workers``."""

from __future__ import annotations

import sys
import time
from typing import Any

from cli.agents import offers
from cli.commands.autoscale import autoscale
from cli.declarations import App
from cli.output import table, write_items, write_json, write_line, write_lines, write_one
from cli.remote.connection import NO_OPTIONS, ServerOptions, choose, http
from cli.remote.fleet import remedy, spawner_problem
from cli.remote.listing import whole, workers_status
from cli.render.autoscale import range_sentence
from cli.render.terminal import is_terminal

_WATCH_SECONDS = 1.0
workers = App(name="workers", help="Show, drain, scale and autoscale workers.")


def _rows(workers: list[dict[str, Any]]) -> list[list[str]]:
    rows = [["worker", "state", "slots", "jobs", "sandbox", "offers", "host"]]
    for worker in workers:
        held = ", ".join(job["jobId"].removeprefix("task-") for job in worker["jobs"]) or "-"
        slots, offered = str(worker["slots"]), ", ".join(offers(worker))
        sandbox = (worker.get("labels") or {}).get("sandbox", "-")
        rows.append([worker["workerId"], worker["state"], slots, held, sandbox, offered, worker.get("host") or "-"])
    return rows


def _problems(workers: list[dict[str, Any]]) -> list[str]:
    return [f"{worker['workerId']} takes no jobs: {worker['problem']}" for worker in workers if worker.get("problem")]


def _spawner_troubles(spawners: list[dict[str, Any]]) -> list[str]:
    problems = {spawner["spawnerId"]: spawner_problem(spawner) for spawner in spawners}
    return [f"spawner {name}: {problem}" for name, problem in problems.items() if problem]


@workers.command
def status(*, watch: bool = False, options: ServerOptions = NO_OPTIONS) -> None:
    """Show the workers, and what waits.

    Parameters
    ----------
    watch
        Show it again every second.
    """
    client = http(choose(options))
    while True:
        fleet = workers_status(client)
        if options.as_json:
            write_json(fleet)
        elif options.output == "name":
            write_lines([worker["workerId"] for worker in fleet["workers"]])
        else:
            if watch and is_terminal(sys.stdout):
                print("\x1b[H\x1b[2J", end="")
            counts = ", ".join(f"{count} {state}" for state, count in sorted(fleet["counts"].items())) or "none"
            queue = fleet["queue"]
            jobs = f"{queue['queued']} queued, {queue['running']} running, {queue.get('paused', 0)} paused"
            write_line(f"workers: {counts}   jobs: {jobs}")
            write_lines(table(_rows(fleet["workers"])))
            write_lines(_problems(fleet["workers"]))
            write_lines([range_sentence(one) for one in fleet.get("autoscale", [])])
            write_lines(_spawner_troubles(fleet.get("spawners", [])))
            write_lines([f"{one['why']} (next: {remedy(one)})" for one in fleet.get("unhealthyAgents", [])])
        if not watch:
            return
        time.sleep(_WATCH_SECONDS)


@workers.command(name="list")
def list_(*, state: str | None = None, options: ServerOptions = NO_OPTIONS) -> None:
    """List the workers, those that ended lately included.

    Parameters
    ----------
    state
        starting, idle, busy, suspect, draining, dead or stopped.
    """
    page = whole(http(choose(options)), "workers.list", {"state": state})
    write_items(page, options.output, "workerId", _rows(page["items"]))


@workers.command
def drain(worker: str, /, *, options: ServerOptions = NO_OPTIONS) -> None:
    """Let a worker finish what it has and end.

    Parameters
    ----------
    worker
        The worker's id.
    """
    drained = http(choose(options)).mutate("workers.drain", {"workerId": worker})
    write_one(drained, options.output, "workerId", note=f"{worker} is {drained['state']}")


@workers.command
def scale(count: int, /, *, capability: list[str] | None = None, options: ServerOptions = NO_OPTIONS) -> None:
    """Keep so many workers even when the queue is empty.

    Parameters
    ----------
    count
        How many.
    capability
        What they must offer.
    """
    scaled = http(choose(options)).mutate("workers.scale", {"count": count, "capabilities": capability or []})
    count_kept = str(scaled["count"])
    write_one(
        {**scaled, "name": count_kept},
        options.output,
        "name",
        note=f"{count_kept} {'worker is' if count_kept == '1' else 'workers are'} kept",
    )


workers.command(autoscale)


@workers.command
def reset(agent: str, /, *, options: ServerOptions = NO_OPTIONS) -> None:
    """Let the jobs of an agent go on at once that wait because it failed again and again.

    Parameters
    ----------
    agent
        The agent's name.
    """
    forgotten = http(choose(options)).mutate("workers.resetAgent", {"agent": agent})
    count = forgotten["failures"]
    done = f"{count} failures of {agent} in a row are forgotten: its jobs go on"
    write_one(forgotten, options.output, "agent", note=done if count else f"{agent} has no failures to forget")
