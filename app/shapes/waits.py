"""Why a task waits, from what keeps each live worker from its next job; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from app.core.approvals import PROGRAMS
from app.shapes.records import JobPod, Task, Wait, WorkerObstacle, or_unset
from db.autoscale import FullRange
from db.tasks import Obstacle

_HOW_TO_OFFER = "; ado doctor --agents, where the workers run, says what an agent lacks (it is looked for every minute)"
_MORE_WORKERS = frozenset({"no_live_worker", "capability", "slots", "resources"})
"""What another worker would help against."""


def wait_of(task: Task, obstacles: Sequence[Obstacle], queued: int, full: Sequence[FullRange] = ()) -> Wait:
    """Return why a task with a queued job waits; ``queued`` is the number of jobs in the queue.

    ``full`` are the ranges about it that allow no more workers.
    """
    if obstacles[0].unmet == "waits_for_task":
        why = f"it starts when {obstacles[0].help.removeprefix('wait until ')}"
        return Wait(reason="waits_for_task", why=why, workers=[])
    reason, why = _of_task(task, obstacles[0]) or _of_workers(task, obstacles, queued)
    if full and reason in _MORE_WORKERS:
        reason, why = "autoscale", f"{'; '.join(map(_at_maximum, full))}; {queued} jobs are queued"
    workers = [WorkerObstacle.from_record(obstacle) for obstacle in obstacles if obstacle.worker_id is not None]
    return Wait(reason=or_unset(reason), why=why, workers=workers)


def limits_wait(task: Task, ends: Mapping[int, datetime]) -> Wait:
    """Return the wait of running jobs whose attempts hold on for a rate limit, by the end of each."""
    job, end = min(ends.items(), key=lambda item: item[1])
    who = f"job {job} goes on" if len(ends) == 1 else f"{len(ends)} jobs wait, job {job} goes on first,"
    why = f"the model's service told {task.jobs[job].agent} to wait; {who} by itself at {_words(end)}"
    return Wait(reason="rate_limited", why=why, workers=[])


def _words(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _of_task(task: Task, first: Obstacle) -> tuple[str, str] | None:
    queued = [job for job in task.jobs if job.status == "queued"]
    if first.unmet == "retry_delay":
        limited = [job.retry_at for job in queued if job.reason == "rate_limit" and job.retry_at]
        if limited:
            why = f"the model's service told {task.jobs[first.job].agent} to wait; it goes on at {_words(min(limited))}"
            return "rate_limited", why
        return first.unmet, f"its workers were lost; the next attempt comes later: {first.help.partition('; ')[0]}"
    if task.quota:
        return "quota", f"quota: {task.quota} (next: wait, or ado users set)"
    if first.unmet == "agent_unhealthy":
        return first.unmet, first.help.partition("; ")[0]
    if pods := [job.pod for job in queued if job.pod and job.pod.reason]:
        return str(pods[0].reason), "; ".join(_pod_troubles(pods))
    return None


def _of_workers(task: Task, obstacles: Sequence[Obstacle], queued: int) -> tuple[str | None, str]:
    first = obstacles[0]
    agent = task.jobs[first.job].agent
    needs = {agent, *task.requires}
    if first.unmet == "no_live_worker":
        offer = f"one that offers {', '.join(sorted(needs))} is needed"
        return first.unmet, f"no worker is running; {offer}: ado worker, or a spawner that can start it"
    able = [obstacle for obstacle in obstacles if obstacle.unmet != "capability"]
    if not able:
        return "capability", _nobody_offers(agent, needs, obstacles)
    if any(obstacle.unmet is None for obstacle in able):
        return None, ""
    if all(obstacle.unmet == "slots" for obstacle in able):
        return "slots", f"all {len(able)} workers that could run it are busy; {queued} jobs are queued"
    helps = {obstacle.unmet: obstacle.help for obstacle in able}
    counts = Counter(obstacle.unmet for obstacle in able)
    return able[0].unmet, "; ".join(f"{counts[unmet]} {unmet}: {text}" for unmet, text in helps.items())


def _at_maximum(full: FullRange) -> str:
    """Return that a range allows no more workers."""
    what = f"that offer {full.capability}" if full.capability else "of spawners"
    command = " ".join(filter(None, ("ado workers autoscale", full.capability, f"--max {full.maximum + 1}")))
    return f"{full.workers} workers {what} are there, and autoscaling allows {full.maximum} (next: wait, or {command})"


def _pod_troubles(pods: Sequence[JobPod]) -> list[str]:
    """Return why pods do not run, one text for each reason, in the cluster's words."""
    lines = []
    for reason, count in Counter(pod.reason for pod in pods).items():
        pod = next(pod for pod in pods if pod.reason == reason)
        who = f"pod {pod.name}" if count == 1 else f"{count} pods"
        lines.append(f"{who}: {reason}: {pod.message} (next: {pod.hint})")
    return lines


def _nobody_offers(agent: str, needs: set[str], obstacles: Sequence[Obstacle]) -> str:
    offered = {name for obstacle in obstacles for name in obstacle.capabilities or ()}
    wanted = ", ".join(sorted(needs - offered or needs))
    step = _HOW_TO_OFFER if agent not in {*offered, *PROGRAMS} else ""
    others = f"{len(obstacles)} {'offers' if len(obstacles) == 1 else 'offer'} something else"
    return f"no live worker offers {wanted}; {others}{step}"
