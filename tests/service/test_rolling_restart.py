"""Many tasks: a rolling restart under load, concurrent updates, jobs spread over workers, and reasons to wait."""

import contextlib
import json
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.program import Cluster, until

from app.rpc.client import CallError, HttpClient, NoAnswer


def number(task):
    return int(task.removeprefix("task-"))


def states(cluster):
    return dict(cluster.sql("select worker_id, state from ado.worker_status where last_heartbeat_at is not null"))


def create(cluster, name, script, **wish):
    """Create a task, however often it must be asked for; return its id."""
    wish = {"prompt": script, "agent": "shell", "idempotencyKey": name, **wish}
    with contextlib.closing(HttpClient(cluster.urls, cluster.token)) as client:
        for _ in range(100):
            with contextlib.suppress(NoAnswer, CallError):
                return client.mutate("tasks.create", wish)["taskId"]
            time.sleep(0.1)
    raise AssertionError("no replica takes the task")


def test_a_rolling_restart_under_load_loses_no_task_and_no_attempt(cluster):
    ids = [f"w{index}" for index in range(4)]
    workers = {name: cluster.add_worker(name) for name in ids}
    until(lambda: len(states(cluster)) == len(ids), "the workers")
    script = "echo begin $ADO_ATTEMPT; sleep 0.4; echo end $ADO_ATTEMPT"
    tasks = []

    def load(name):
        tasks.extend(create(cluster, f"{name}-{index}", script, workers=2) for index in range(4))

    for index, url in enumerate(cluster.urls):
        load(f"replica-{index}")
        replica = cluster.replicas[index]
        replica.terminate()
        assert replica.wait(60) == 0
        cluster.start("api", "--port", url.rpartition(":")[2])
        until(lambda url=url: Cluster._ready(url), "the replica")
    for name in ids:
        load(name)
        workers[name].terminate()
        assert workers[name].wait(60) == 0
        cluster.add_worker(name)
    cluster.ado("wait", *tasks, check=0)
    assert cluster.sql("select sum(losses), sum(failures), count(*) from ado.jobs") == [(0, 0, 2 * len(tasks))]
    ended = cluster.sql("select body ->> 'outcome' from ado.events where type = 'finished'")
    assert ended == [("succeeded",)] * 2 * len(tasks)
    reasons = cluster.sql("select distinct body ->> 'reason' from ado.events where type in ('requeued', 'released')")
    assert {reason for (reason,) in reasons} <= {"shutdown", "claim_lost"}


def test_fifty_concurrent_updates_have_one_winner_and_the_others_get_the_version(cluster):
    task = create(cluster, "a", "true")

    def update(index):
        url = cluster.urls[index % 2]
        with contextlib.closing(HttpClient([url], cluster.token)) as client:
            try:
                return client.mutate("tasks.update", {"taskId": task, "version": 1, "priority": index})
            except CallError as error:
                return error

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(update, range(50)))
    errors = [answer for answer in answers if isinstance(answer, CallError)]
    (won,) = [answer for answer in answers if not isinstance(answer, CallError)]
    assert won["version"] == 2
    assert {(error.reason, error.data["version"]) for error in errors} == {("version_conflict", 2)}
    assert cluster.task(task)["priority"] == won["priority"]


def test_concurrent_update_commands_repeat_until_each_change_is_stored(cluster):
    task = create(cluster, "a", "true", labels={"old": "1", "gone": "1"})
    rivals = [
        cluster.open("tasks", "update", task, "--label", f"n{index}={index}", url=cluster.urls[index % 2])
        for index in range(5)
    ]
    assert [rival.wait(60) for rival in rivals] == [0] * 5
    cluster.ado("tasks", "update", task, "--label", "gone=", "--priority", "7", check=0)
    found = cluster.task(task)
    assert found["labels"] == {"old": "1", **{f"n{index}": str(index) for index in range(5)}}
    assert (found["version"], found["priority"]) == (7, 7)
    stale = cluster.ado("tasks", "update", task, "--priority", "8", "--version", "3", "-o", "json", check=1)
    assert json.loads(stale.stderr)["error"]["reason"] == "version_conflict"


@pytest.fixture
def calm(dsn, home):
    """A cluster in which a worker that is late for a while stays what it is."""
    yield from patient_cluster(dsn, home, ADO_SUSPECT_SECONDS="50", ADO_LEASE_SECONDS="100")


@pytest.fixture
def patient(dsn, home):
    """A cluster in which a silent worker stays suspect for long."""
    yield from patient_cluster(dsn, home, ADO_LEASE_SECONDS="100")


def patient_cluster(dsn, home, **env):
    made = Cluster(dsn, home, env=env)
    try:
        yield made.add_replicas(2)
    finally:
        made.close()


def test_jobs_are_spread_over_workers(calm):
    cluster = calm
    for index in range(3):
        cluster.add_worker(f"w{index}", "--slots", "9", url=cluster.urls[0])
    until(lambda: len(states(cluster)) == 3, "the workers")
    tried = "select count(*) from ado.workers where claims > 0"
    until(lambda: cluster.sql(tried) == [(3,)], "the workers to have found nothing and wait")
    task = create(cluster, "a", "sleep 1", workers=3)
    cluster.ado("wait", task, check=0)
    assert {job["workerId"] for job in cluster.task(task)["jobs"]} == {"w0", "w1", "w2"}


def test_explain_names_what_each_live_worker_lacks(patient):
    cluster = patient
    gpu = ["--capability", "shell", "--capability", "gpu"]
    cluster.add_worker("capability")
    slots, draining, suspect = (cluster.add_worker(name, *gpu) for name in ("slots", "draining", "suspect"))
    until(lambda: len(states(cluster)) == 4, "the workers")
    for index in range(3):
        create(cluster, f"hold-{index}", "sleep 300", requires=["gpu"])
    held = "select count(*) from ado.jobs where status = 'running'"
    until(lambda: cluster.sql(held) == [(3,)], "three workers to be busy")
    cluster.ado("workers", "drain", "draining", check=0)
    suspect.send_signal(signal.SIGSTOP)
    wanted = create(cluster, "wanted", "true", requires=["gpu"])
    try:
        until(lambda: states(cluster)["suspect"] == "suspect", "the stopped worker to be suspect")
        found = json.loads(cluster.ado("explain", wanted, "-o", "json", check=0).stdout)
        view = cluster.sql("select worker_id, unmet from ado.why_pending where task_id = %s", number(wanted))
    finally:
        suspect.send_signal(signal.SIGCONT)
    every = {name: name for name in ("capability", "slots", "draining", "suspect")}
    assert {worker["workerId"]: worker["unmet"] for worker in found["workers"]} == every
    assert dict(view) == every
    assert all(worker["help"] for worker in found["workers"])
    assert slots.poll() is draining.poll() is None


def test_other_jobs_continue_after_a_failure_and_the_first_one_is_named(cluster):
    """on-failure continue: the exit code and the table's last line are the first failing job's, by the log."""
    for index in range(3):
        cluster.add_worker(f"w{index}")
    gate = cluster.home / "gate"
    script = f"""case $ADO_JOB_INDEX in
        0) until [ -e {gate} ]; do sleep 0.05; done; exit 4 ;;
        1) echo done ;;
        2) exit 5 ;;
    esac"""
    watching = cluster.open("run", "--remote", "--agent", "shell", "--workers", "3", script)
    until(lambda: cluster.sql("select 1 from ado.jobs where job = 2 and status = 'failed'"), "the first failure")
    gate.touch()
    out, err = watching.communicate(timeout=60)
    assert (watching.returncode, out) == (5, b"[1] done\n")
    assert b"2 of 3 jobs failed; first failed: job 2" in err
    task = cluster.task("task-1")
    assert task["failedJob"] == 2
    assert [job["status"] for job in task["jobs"]] == ["failed", "succeeded", "failed"]
