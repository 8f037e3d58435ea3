"""What running workers offer, and those that spawners would start; without I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from cli import exits
from cli.agents import KNOWN, agent_names, preferred
from cli.errors import CliError, nearest
from cli.render.ages import ago

_LIVE = frozenset({"starting", "idle", "busy", "suspect", "draining"})
_SILENT = frozenset({"suspect", "dead"})


def offered(status: Mapping[str, Any]) -> set[str]:
    """Return the capabilities of live workers and of spawners that run."""
    return {name for worker in _live(status) for name in worker["capabilities"]} | _from_spawners(status)


def default_agent(status: Mapping[str, Any], from_new_workers: Iterable[str] = ()) -> str:
    """Return the preferred AI agent of live workers, and of new ones: spawners', and those that would offer these.

    Raises CliError.
    """
    return preferred(_live(status), _from_spawners(status).union(from_new_workers))


def _live(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [worker for worker in status["workers"] if worker["state"] in _LIVE]


def _from_spawners(status: Mapping[str, Any]) -> set[str]:
    running = [spawner for spawner in status.get("spawners", ()) if spawner["state"] == "running"]
    return {name for spawner in running for name in spawner["capabilities"]}


def check_offered(agent: str, status: Mapping[str, Any], installed: Iterable[str] = ()) -> None:
    """Raise CliError for an agent that nobody offers while other agents are on offer.

    If nobody offers anything, workers may still start. ``installed`` holds the agents whose programs are on this
    machine, where a spawner may start workers.
    """
    known = offered(status)
    if not known or agent in known or agent in installed:
        return
    names = agent_names(known)
    meant = "" if agent in KNOWN else nearest(agent, sorted({*names, *KNOWN}))
    message = f"no worker offers the agent {agent}; offered: {', '.join(names)}{meant}"
    step = (
        "ado doctor --agents, where the workers run, says what an agent lacks; --wait-for-agent creates the task anyway"
    )
    raise CliError(message, step, exits.UNKNOWN, "no_agent")


def spawner_problem(spawner: Mapping[str, Any], now: datetime | None = None) -> str:
    """Return what keeps a spawner from starting workers; empty when nothing does."""
    if spawner["state"] == "silent":
        return f"stopped sending heartbeats; the last came {ago(spawner['lastHeartbeatAt'], now)}"
    return str(spawner.get("problem", ""))


def remedy(agent: Mapping[str, Any]) -> str:
    """Return the next step for an agent whose jobs wait because it fails again and again."""
    look = f"see {agent['jobId']}, " if agent.get("jobId") else ""
    return f"{look}correct it where the workers run, then ado workers reset {agent['agent']}"


def why_waiting(task: Mapping[str, Any]) -> str:
    """Return why a task of ``tasks.get`` with ``explain`` waits; empty if nothing waits or is in the way."""
    return str((task.get("wait") or {}).get("why", ""))


def silence(task: Mapping[str, Any], status: Mapping[str, Any], now: datetime | None = None) -> str:
    """Return a sentence about silent workers that run a job of the task; empty if there are none."""
    running = {job["workerId"] for job in task["jobs"] if job["status"] == "running"}
    silent = [
        f"{worker['workerId']} was heard of {ago(worker['lastHeartbeatAt'], now)}"
        for worker in status["workers"]
        if worker["workerId"] in running and worker["state"] in _SILENT
    ]
    outlook = "; a job whose worker stays silent is queued again when its lease ends"
    return f", but {', '.join(silent)}{outlook}" if silent else ""
