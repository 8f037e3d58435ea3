"""Why a task waits, from the server's view of it and of the workers; pure. The words are those of ado.why_pending."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cli.agents import PROGRAMS
from cli.render.ages import ago

_LIVE = frozenset({"starting", "idle", "busy", "suspect", "draining"})
_SILENT = frozenset({"suspect", "dead"})
_HOW_TO_OFFER = "; ado doctor --agents, where the workers run, says what an agent lacks (it is looked for every minute)"
_NOT_YET = {
    "suspect": "its heartbeats are late",
    "draining": "it takes no new jobs and will end",
    "starting": "it has not registered yet",
}


@dataclass(frozen=True, slots=True)
class Obstacle:
    """The requirement that keeps one live worker from running a task's next job; ``unmet`` is empty if none does."""

    worker_id: str
    state: str
    unmet: str
    help: str


def obstacles(task: Mapping[str, Any], status: Mapping[str, Any]) -> list[Obstacle]:
    """Return, per live worker, the first requirement of a queued task that it does not meet."""
    live = [worker for worker in status["workers"] if worker["state"] in _LIVE]
    delay = _retry_delay(task)
    pods = {pod["name"]: pod for pod in _pods(task)}
    return [
        Obstacle(name, worker["state"], *(delay or _quota(task) or _of_pod(pods.get(name)) or _unmet(task, worker)))
        for worker in live
        for name in (worker["workerId"],)
    ]


def _quota(task: Mapping[str, Any]) -> tuple[str, str] | None:
    return ("quota", f"{task['quota']} (next: wait, or ado users set)") if task.get("quota") else None


def _pods(task: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [job["pod"] for job in task["jobs"] if job["status"] == "queued" and job.get("pod")]


def pod_troubles(task: Mapping[str, Any]) -> list[str]:
    """Return why the pods of queued jobs do not run, one line for each reason, in the cluster's words."""
    by_reason: dict[str, list[Mapping[str, Any]]] = {}
    for pod in _pods(task):
        if pod.get("reason"):
            by_reason.setdefault(pod["reason"], []).append(pod)
    return [_trouble(reason, pods) for reason, pods in by_reason.items()]


def _of_pod(pod: Mapping[str, Any] | None) -> tuple[str, str] | None:
    return (pod["reason"], f"{pod.get('message')} (next: {pod.get('hint')})") if pod and pod.get("reason") else None


def _trouble(reason: str, pods: Sequence[Mapping[str, Any]]) -> str:
    first = pods[0]
    who = f"pod {first['name']}" if len(pods) == 1 else f"{len(pods)} pods"
    return f"{who}: {reason}: {first.get('message')} (next: {first.get('hint')})"


def _retry_delay(task: Mapping[str, Any]) -> tuple[str, str] | None:
    waits = [job.get("retryAt") for job in task["jobs"] if job["status"] == "queued"]
    return ("retry_delay", f"wait until {min(waits)}") if waits and all(waits) else None


def _unmet(task: Mapping[str, Any], worker: Mapping[str, Any]) -> tuple[str, str]:
    missing = {task["agent"], *task["requires"]} - set(worker["capabilities"])
    if missing:
        return "capability", f"missing: {', '.join(sorted(missing))}"
    if worker["state"] in _NOT_YET:
        return worker["state"], _NOT_YET[worker["state"]]
    if short := _short(task, worker["resources"]):
        return "too_large", f"a larger worker is needed ({', '.join(short)})"
    if len(worker["jobs"]) >= worker["slots"]:
        return "slots", f"all of its {worker['slots']} slots are taken"
    if short := _short(task, worker["free"]):
        return "resources", f"its running jobs hold what this one needs ({', '.join(short)})"
    return "", "nothing: it will be claimed"


def _short(task: Mapping[str, Any], offered: Mapping[str, float]) -> list[str]:
    needed = task["resources"].items()
    short = [(name, need, offered.get(name, 0)) for name, need in needed if need > offered.get(name, 0)]
    return [f"{name}: {need:g} asked, {free:g} there" for name, need, free in short]


def why_waiting(task: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    """Return the reason in one line; empty when nothing waits, or nothing is in the way."""
    delay = _retry_delay(task)
    if delay or not any(job["status"] == "queued" for job in task["jobs"]):
        return f"its workers were lost; the next attempt comes later: {delay[1]}" if delay else ""
    if quota := _quota(task):
        return ": ".join(quota)
    unmet = obstacles(task, status)
    if reason := "; ".join(pod_troubles(task)) or _no_worker(task, unmet) or nobody_offers(task, status):
        return reason
    able = [obstacle for obstacle in unmet if obstacle.unmet != "capability"]
    if any(not obstacle.unmet for obstacle in able):
        return ""
    if all(obstacle.unmet == "slots" for obstacle in able):
        return f"all {len(able)} workers that could run it are busy; {status['queue']['queued']} jobs are queued"
    counts = {obstacle.unmet: obstacle.help for obstacle in able}
    return "; ".join(f"{sum(o.unmet == unmet for o in able)} {unmet}: {text}" for unmet, text in counts.items())


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


def _no_worker(task: Mapping[str, Any], unmet: Sequence[Obstacle]) -> str:
    if unmet:
        return ""
    needs = ", ".join(sorted({task["agent"], *task["requires"]}))
    return f"no worker is running; one that offers {needs} is needed: ado worker, or a spawner that can start it"


def nobody_offers(task: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    """Return in one line what no live worker offers; empty when one does, or when there is none at all."""
    unmet = obstacles(task, status)
    if not unmet or any(obstacle.unmet != "capability" for obstacle in unmet):
        return ""
    missing = {task["agent"], *task["requires"]}
    offered = {name for worker in status["workers"] if worker["state"] in _LIVE for name in worker["capabilities"]}
    wanted = ", ".join(sorted(missing - offered or missing))
    step = _HOW_TO_OFFER if task["agent"] not in {*offered, *PROGRAMS} else ""
    others = f"{len(unmet)} {'offers' if len(unmet) == 1 else 'offer'} something else"
    return f"no live worker offers {wanted}; {others}{step}"
