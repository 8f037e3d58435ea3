"""Why a task waits: the first requirement that each live worker does not meet."""

from datetime import UTC, datetime

import pytest

from cli.remote.wait_reasons import Obstacle, obstacles, pod_troubles, silence, why_waiting

NO_WORKER = "no worker is running; one that offers shell is needed: ado worker, or a spawner that can start it"


def task(**values):
    job = {"job": 0, "status": "queued"}
    wish = {"agent": "shell", "requires": [], "resources": {"cpu": 1, "memory": 0, "gpu": 0}}
    return {"status": "queued", "jobs": [job], **wish, **values}


def worker(name="w", state="idle", **values):
    machine = {"cpu": 4, "memory": 100, "gpu": 0}
    offer = {"capabilities": ["shell"], "slots": 1, "jobs": [], "resources": machine, "free": machine}
    return {"workerId": name, "state": state, **offer, **values}


def status(*workers):
    return {"workers": list(workers), "queue": {"queued": 3}}


@pytest.mark.parametrize(
    ("wish", "offered", "unmet", "word"),
    [
        ({"agent": "codex"}, worker(), "capability", "missing: codex"),
        ({"quota": "a has 1 jobs running", "agent": "codex"}, worker(), "quota", "a has 1 jobs running"),
        ({"requires": ["gpu", "shell"]}, worker(), "capability", "missing: gpu"),
        ({}, worker(state="suspect"), "suspect", "heartbeats"),
        ({}, worker(state="draining"), "draining", "will end"),
        ({}, worker(state="starting"), "starting", "registered"),
        ({"resources": {"cpu": 9, "memory": 0, "gpu": 0}}, worker(), "too_large", "cpu: 9 asked, 4 there"),
        ({}, worker(state="busy", jobs=[1]), "slots", "1 slots"),
        ({}, worker(slots=2, free={"cpu": 0.5, "memory": 0, "gpu": 0}), "resources", "cpu: 1 asked, 0.5 there"),
        ({}, worker(), "", "nothing"),
    ],
)
def test_the_reason_of_a_waiting_job_names_what_workers_lack(wish, offered, unmet, word):
    (found,) = obstacles(task(**wish), status(offered))
    assert found == Obstacle("w", offered["state"], unmet, found.help)
    assert word in found.help


@pytest.mark.parametrize(
    ("workers", "reason"),
    [
        ([], NO_WORKER),
        ([worker(state="dead")], NO_WORKER),
        ([worker(capabilities=["x"])], "no live worker offers shell; 1 offers something else"),
        ([worker(capabilities=["x"])] * 2, "no live worker offers shell; 2 offer something else"),
        ([worker(state="busy", jobs=[1])], "all 1 workers that could run it are busy; 3 jobs are queued"),
        ([worker(state="suspect"), worker()], ""),
        ([worker(state="suspect"), worker(state="suspect")], "2 suspect: its heartbeats are late"),
    ],
)
def test_the_reason_is_one_line_or_empty(workers, reason):
    assert why_waiting(task(), status(*workers)) == reason


def test_a_running_job_has_no_reason_to_wait():
    assert why_waiting(task(status="running", jobs=[{"status": "running"}]), status()) == ""
    assert why_waiting(task(status="succeeded", jobs=[{"status": "succeeded"}]), status()) == ""


def test_a_job_between_two_attempts_waits_for_its_retry_time():
    jobs = [{"status": "running"}, {"status": "queued", "retryAt": "2026-01-02T03:04:05Z"}]
    between = task(status="running", jobs=jobs)
    (found,) = obstacles(between, status(worker()))
    assert (found.unmet, found.help) == ("retry_delay", "wait until 2026-01-02T03:04:05Z")
    assert "2026-01-02T03:04:05Z" in why_waiting(between, status(worker()))


def test_a_job_that_waits_beside_running_siblings_is_explained_too():
    rest = task(status="running", jobs=[{"status": "running"}, {"status": "queued"}])
    assert why_waiting(rest, status()).startswith("no worker is running")


POD = {"name": "ado-task-1-0-d1", "state": "placed", "reason": "unschedulable", "message": "0/1 nodes", "hint": "add"}


def test_the_reason_of_a_pod_has_the_message_of_the_cluster():
    waits = task(jobs=[{"status": "queued", "pod": POD}])
    own, other = worker(POD["name"], "starting"), worker("w", "busy", jobs=[1])
    assert why_waiting(waits, status(own, other)) == "pod ado-task-1-0-d1: unschedulable: 0/1 nodes (next: add)"
    found = {obstacle.worker_id: obstacle for obstacle in obstacles(waits, status(own, other))}
    assert (found[POD["name"]].unmet, found[POD["name"]].help) == ("unschedulable", "0/1 nodes (next: add)")
    assert found["w"].unmet == "slots"


def test_pods_with_one_reason_share_a_line_and_one_that_is_starting_has_none():
    fine = {"name": "p", "state": "placed"}
    quota = {**POD, "reason": "quota", "message": "exceeded"}
    pods = [POD, {**POD, "name": "other"}, quota, fine]
    many = task(jobs=[{"status": "queued", "pod": pod} for pod in pods])
    assert pod_troubles(many) == [
        "2 pods: unschedulable: 0/1 nodes (next: add)",
        "pod ado-task-1-0-d1: quota: exceeded (next: add)",
    ]
    alone = task(jobs=[{"status": "queued", "pod": fine}])
    assert why_waiting(alone, status(worker("p", "starting"))) == "1 starting: it has not registered yet"


def test_an_agent_without_workers_is_reported_with_the_next_command():
    waits = {**task(), "agent": "gemini-cli"}
    assert "ado doctor --agents" in why_waiting(waits, status(worker()))


def test_a_running_job_says_when_its_worker_is_silent():
    running = task(status="running", jobs=[{"job": 0, "status": "running", "workerId": "w"}])
    now, last = datetime(2026, 11, 26, 12, 0, tzinfo=UTC), "2026-11-26T11:57:00Z"
    late = worker(state="suspect", lastHeartbeatAt=last)
    assert silence(running, status(worker(), worker("x", "dead", lastHeartbeatAt=last)), now) == ""
    assert ", but w was heard of 3 min ago; a job whose worker" in silence(running, status(late), now)
