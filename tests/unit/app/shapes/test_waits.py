"""Why a task waits: one line, from what keeps each live worker from its next job."""

from datetime import UTC, datetime, timedelta

import pytest

from app.shapes.records import Job, JobPod, Resources, Task
from app.shapes.waits import limits_wait, wait_of
from db.tasks import Obstacle

NO_WORKER = "no worker is running; one that offers shell is needed: ado worker, or a spawner that can start it"
NOBODY = Obstacle(0, None, None, None, "no_live_worker", "start a worker that offers shell")


def job(number=0, status="queued", agent="shell", **values):
    return Job(job_id=f"task-1/{number}", job=number, agent=agent, status=status, attempt=0, **values)


def task(*jobs, **values):
    wish = {
        "task_id": "task-1", "status": "queued", "prompt": "p", "agent": "shell", "workers": 1, "requires": [],
        "network": "all", "stdin": False, "resources": Resources(), "priority": 0, "retries": 0,
        "on_failure": "continue", "labels": {}, "env_names": [], "version": 1, "last_seq": 1,
        "created_at": datetime(2026, 1, 1, tzinfo=UTC), "jobs": list(jobs) or [job(agent=values.get("agent", "shell"))],
    }  # fmt: skip
    return Task(**{**wish, **values})


def kept(unmet, help_="h", offers=("shell",), name="w"):
    return Obstacle(0, name, "idle", offers, unmet, help_)


OTHER = kept("capability", "missing: shell", ("x",))


@pytest.mark.parametrize(
    ("obstacles", "reason", "why"),
    [
        ([NOBODY], "no_live_worker", NO_WORKER),
        ([OTHER], "capability", "no live worker offers shell; 1 offers something else"),
        ([OTHER] * 2, "capability", "no live worker offers shell; 2 offer something else"),
        ([kept("slots"), OTHER], "slots", "all 1 workers that could run it are busy; 3 jobs are queued"),
        ([kept("suspect"), kept(None)], "", ""),
        ([kept("suspect", "late")] * 2, "suspect", "2 suspect: late"),
        ([kept("suspect", "late"), kept("slots", "full")], "suspect", "1 suspect: late; 1 slots: full"),
        (
            [kept("retry_delay", "wait until X; missing: y")],
            "retry_delay",
            "its workers were lost; the next attempt comes later: wait until X",
        ),
        (
            [
                kept(
                    "agent_unhealthy",
                    "agent x is unhealthy (next: z); its last heartbeat was at T",
                )
            ],
            "agent_unhealthy",
            "agent x is unhealthy (next: z)",
        ),
    ],
)
def test_the_reason_is_one_line_and_empty_when_nothing_is_in_the_way(obstacles, reason, why):
    wait = wait_of(task(), obstacles, 3)
    assert (wait.reason or "", wait.why) == (reason, why)
    assert len(wait.workers) == len([obstacle for obstacle in obstacles if obstacle.worker_id])


def test_a_quota_is_reported_before_missing_workers():
    wait = wait_of(task(quota="a has 1 jobs running"), [OTHER], 3)
    assert (wait.reason, wait.why) == ("quota", "quota: a has 1 jobs running (next: wait, or ado users set)")


def test_a_requirement_that_only_several_workers_together_offer_is_named_whole():
    wait = wait_of(task(requires=["gpu"]), [OTHER, kept("capability", "", ("gpu",)), kept("capability")], 3)
    assert wait.why == "no live worker offers gpu, shell; 3 offer something else"


def test_what_keeps_pods_from_running_is_said_in_the_clusters_words_once_for_each_reason():
    pod = {"state": "placed", "reason": "unschedulable", "message": "0/1 nodes", "hint": "add"}
    pods = [JobPod(name="p", **pod), JobPod(name="q", **pod), JobPod(name="r", **{**pod, "reason": "quota"})]
    fine = JobPod(name="s", state="placed")
    jobs = [job(number, pod=pod) for number, pod in enumerate([*pods, fine])]
    wait = wait_of(task(*jobs), [kept("unschedulable")], 3)
    assert wait.reason == "unschedulable"
    assert wait.why == "2 pods: unschedulable: 0/1 nodes (next: add); pod r: quota: 0/1 nodes (next: add)"
    assert wait_of(task(job(pod=fine)), [kept("starting", "soon")], 3).why == "1 starting: soon"


def test_an_agent_without_workers_is_reported_with_the_next_command():
    assert "ado doctor --agents" in wait_of(task(agent="gemini-cli"), [kept("capability")], 3).why


def test_a_job_that_was_handed_back_for_a_limit_says_so():
    end = datetime(2026, 1, 1, 12, tzinfo=UTC)
    limited = job(1, reason="rate_limit", retry_at=end), job(2, reason="rate_limit", retry_at=end + timedelta(hours=1))
    wait = wait_of(task(job(0, "running"), *limited), [kept("retry_delay", "wait until X")], 3)
    assert (wait.reason, wait.why) == (
        "rate_limited", "the model's service told shell to wait; it goes on at 2026-01-01 12:00:00 UTC",
    )  # fmt: skip
    lost = wait_of(task(job(0, retry_at=end)), [kept("retry_delay", "wait until X")], 3)
    assert lost.reason == "retry_delay"


def test_running_jobs_that_wait_for_a_limit_say_which_goes_on_first():
    end = datetime(2026, 1, 1, 12, tzinfo=UTC)
    jobs = [job(number, "running", agent="codex") for number in range(4)]
    wait = limits_wait(task(*jobs), {3: end})
    assert (wait.reason, wait.workers) == ("rate_limited", [])
    assert wait.why == "the model's service told codex to wait; job 3 goes on by itself at 2026-01-01 12:00:00 UTC"
    why = limits_wait(task(*jobs), {3: end, 1: end - timedelta(hours=1)}).why
    assert why.endswith("2 jobs wait, job 1 goes on first, by itself at 2026-01-01 11:00:00 UTC")
