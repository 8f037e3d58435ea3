"""What a thief of a worker's token, and a worker that turned hostile, can do to attempts."""

import contextlib
import http.client
import json
import signal
from urllib.parse import quote

import pytest
from support.program import PATIENT, Cluster, until, write_token

from app.procedures.table import registry

PROCEDURES = registry().procedures
CALLS_OF_ATTEMPTS = {
    *("workers.append", "workers.finish", "workers.messages", "workers.delivered", "tasks.ask", "tasks.answer"),
    "workers.ask",
}


@pytest.fixture
def patient(dsn, home):
    """Two replicas with leases so long that a worker which sends no heartbeat keeps its jobs."""
    made = Cluster(dsn, home, env=PATIENT)
    try:
        yield made.add_replicas(2)
    finally:
        made.close()


class Refused(Exception):
    """What a replica said no to; ``reason`` and ``code`` as on the wire."""

    def __init__(self, error):
        super().__init__(error["message"])
        self.code, self.reason = error["data"]["code"], error["data"]["reason"]
        self.hint = error["data"]["hint"]


def call(url, token, path, value):
    """Call a procedure over HTTP; return its data. Raises Refused."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    headers = {"content-type": "application/json", "authorization": f"Bearer {token}"}
    with contextlib.closing(connection):
        if PROCEDURES[path].kind == "query":
            connection.request("GET", f"/trpc/{path}?input={quote(json.dumps(value))}", headers=headers)
        else:
            connection.request("POST", f"/trpc/{path}", json.dumps(value), headers)
        answer = json.loads(connection.getresponse().read())
    if "error" in answer:
        raise Refused(answer["error"])
    return answer["result"].get("data")


def refusal(url, token, path, value):
    """Return why a call is refused."""
    with pytest.raises(Refused) as refused:
        call(url, token, path, value)
    return refused.value.reason


class Worker:
    """A worker that speaks the protocol by itself, at both replicas in turn."""

    def __init__(self, cluster, name, token, instance="own"):
        self.cluster, self.name, self.token = cluster, name, token
        hello = {"workerId": name, "capabilities": ["probe"], "instance": instance, "slots": 9, "resources": {"cpu": 9}}
        self.session = call(cluster.urls[0], token, "workers.register", hello)["session"]

    def claim(self, *, credentials=True):
        wish = {"workerId": self.name, "session": self.session, "credentials": credentials}
        (job,) = call(self.cluster.urls[1], self.token, "workers.claim", {**wish, "waitSeconds": 10})["jobs"]
        return job

    def fence(self, job):
        return {"workerId": self.name, "jobId": job["jobId"], "attempt": job["attempt"]}


def create(cluster, agent="probe"):
    return call(cluster.urls[0], cluster.token, "tasks.create", {"prompt": "true", "agent": agent})["taskId"]


def writes(fence):
    """Return calls that write for an attempt: path and input."""
    file = {"fileId": f"file-{'a' * 32}", "kind": "result", "size": 1, "sha256": "0" * 64}
    return {
        "workers.append": {**fence, "batch": 1, "events": [{"type": "progress", "message": "forged"}]},
        "workers.finish": {**fence, "outcome": "succeeded", "exitCode": 0},
        "files.begin": {**file, **fence},
    }


def test_a_stolen_workers_token_writes_nothing_for_the_attempts_of_the_worker(cluster):
    """The attempt of the real worker continues unaffected."""
    token = cluster.make_token("worker", worker_id="w")
    file = cluster.home / "w.token"
    write_token(file, token)
    url = ",".join(cluster.urls)
    cluster.start("worker", "--id", "w", "--url", url, "--token-file", str(file), "--work-dir", str(cluster.home / "k"))
    script = f"until test -e {cluster.home}/go; do sleep 0.05; done; echo done"
    name = cluster.ado("run", "--remote", "--detach", "-o", "name", "--agent", "shell", script, check=0)
    name = name.stdout.decode().strip()
    until(lambda: cluster.task(name)["status"] == "running", "the job to run")
    until(lambda: cluster.sql("select 1 from ado.workers where last_heartbeat_at > started_at"), "a heartbeat")
    fence = {"workerId": "w", "jobId": f"{name}/0", "attempt": 1}
    for url in cluster.urls:
        for path, value in writes(fence).items():
            assert refusal(url, token, path, value) == "credential_missing", path
            guess = {**value, "credential": token}
            assert refusal(url, token, path, guess) == "credential_missing", path
        assert refusal(url, token, "workers.register", {"workerId": "w", "instance": "thief"}) == "token_in_use"
        for path in ("workers.heartbeat", "workers.claim"):
            assert refusal(url, token, path, {"workerId": "w", "session": "guess"}) == "worker_replaced"
        assert call(url, token, "files.list", {"taskId": name}) == {"items": []}
    (cluster.home / "go").touch()
    cluster.ado("wait", name, check=0)
    (job,) = cluster.task(name)["jobs"]
    assert (job["status"], job["attempt"]) == ("succeeded", 1)
    assert "forged" not in json.dumps(cluster.events(name))


def test_a_worker_writes_nothing_for_the_attempts_of_another_one(patient):
    """Neither with its token nor with a credential of its own attempt, whatever ids it names."""
    create(patient)
    create(patient)
    first = Worker(patient, "w1", patient.make_token("worker", worker_id="w1"))
    second = Worker(patient, "w2", patient.make_token("worker", worker_id="w2"))
    theirs, own = first.claim(), second.claim()
    for path, value in writes(first.fence(theirs)).items():
        for token in (second.token, own["credential"]):
            assert refusal(patient.urls[0], token, path, value) == "forbidden", path
    for path, value in writes({**first.fence(theirs), "workerId": "w2"}).items():
        assert refusal(patient.urls[0], second.token, path, value) == "lease_lost", path
        assert refusal(patient.urls[0], own["credential"], path, value) == "forbidden", path
    assert patient.task(theirs["taskId"])["status"] == "running"


def test_a_credential_serves_its_attempt_and_ends_with_it(patient):
    task, other = create(patient), create(patient)
    worker = Worker(patient, "w", patient.make_token("worker", worker_id="w"))
    job = worker.claim()
    assert job["taskId"] == task
    first, second = patient.urls
    credential, fence = job["credential"], worker.fence(job)
    append = {**fence, "events": [{"type": "progress", "message": "x"}]}
    assert call(first, credential, "workers.append", {**append, "batch": 1}) == {"acknowledged": 1}
    given = {**append, "batch": 2, "credential": credential}
    assert call(second, worker.token, "workers.append", given) == {"acknowledged": 2}
    assert call(first, credential, "tasks.kvSet", {"taskId": task, "key": "k", "value": 1})["version"] == 1
    assert refusal(first, credential, "tasks.kvSet", {"taskId": other, "key": "k", "value": 1}) == "forbidden"
    for path in sorted(set(PROCEDURES) - CALLS_OF_ATTEMPTS - {"sessions.exchange"}):  # which takes a code, no token
        if not path.startswith(("tasks.kv", "files.")) and PROCEDURES[path].kind != "subscription":
            assert refusal(first, credential, path, {}) == "forbidden", path
    assert call(second, credential, "workers.finish", {**fence, "outcome": "succeeded"})["status"] == "succeeded"
    for url in patient.urls:  # at once, at any replica
        late = {**append, "batch": 3}
        assert refusal(url, credential, "workers.append", late) == "token_invalid"
        assert refusal(url, credential, "tasks.kvGet", {"taskId": task, "key": "k"}) == "token_invalid"
        assert refusal(url, worker.token, "workers.append", {**late, "credential": credential}) == "lease_lost"


def test_a_usage_that_no_agent_can_have_hides_nobodys_tasks(patient):
    """Neither does one that a replica of an older release stored."""
    task, older = create(patient), create(patient)
    worker = Worker(patient, "w", patient.make_token("worker", worker_id="w"))
    lies = {"costUsd": -1e6, "inputTokens": "x", "outputTokens": 5}
    for _ in (task, older):
        job = worker.claim()
        end = {**worker.fence(job), "outcome": "succeeded", "usage": lies}
        call(patient.urls[0], job["credential"], "workers.finish", end)
    assert patient.sql("select output_tokens from ado.attempt_usage where cost_usd is null") == [(5,), (5,)]
    number = int(older.removeprefix("task-"))
    patient.sql("update ado.jobs set usage = %s::json where task_id = %s returning 1", json.dumps(lies), number)
    listed = json.loads(patient.ado("tasks", "list", "-o", "json", check=0).stdout)["items"]
    assert [item["jobs"][0]["usage"] for item in listed] == [{"outputTokens": 5}] * 2


def test_a_job_token_neither_appends_nor_finishes(patient):
    create(patient)
    worker = Worker(patient, "w", patient.make_token("worker", worker_id="w"))
    job = worker.claim()
    for path, value in writes(worker.fence(job)).items():
        assert refusal(patient.urls[0], job["token"], path, value) == "forbidden", path
        given = {**value, "credential": job["token"]}
        assert refusal(patient.urls[0], worker.token, path, given) == "credential_missing", path
    assert patient.task(job["taskId"])["status"] == "running"


def test_a_token_serves_one_process_until_its_end(patient):
    token = patient.make_token("worker", worker_id="w")
    worker = Worker(patient, "w", token)
    beat = {"workerId": "w", "session": worker.session, "jobs": []}
    call(patient.urls[0], token, "workers.heartbeat", beat)
    for url in patient.urls:
        assert refusal(url, token, "workers.register", {"workerId": "w", "instance": "second"}) == "token_in_use"
    assert Worker(patient, "w", token).session == worker.session  # the same process again
    call(patient.urls[0], token, "workers.heartbeat", {**beat, "stopped": True})
    assert Worker(patient, "w", token, "second").session != worker.session


def test_a_process_that_never_sent_a_heartbeat_is_replaced_and_its_job_queued_again(patient):
    create(patient)
    token = patient.make_token("worker", worker_id="w")
    first = Worker(patient, "w", token)
    job = first.claim()
    second = Worker(patient, "w", token, "second")
    assert refusal(patient.urls[0], token, "workers.claim", {"workerId": "w", "session": first.session}) == (
        "worker_replaced"
    )
    again = second.claim()
    assert (again["jobId"], again["attempt"]) == (job["jobId"], job["attempt"] + 1)


def test_a_token_of_another_worker_is_refused_with_the_id_it_is_for(cluster):
    token = cluster.make_token("worker", worker_id="w")
    with pytest.raises(Refused, match="this token is for worker 'w' only") as refused:
        Worker(cluster, "other", token)
    assert refused.value.hint == "start the worker with --id w, or make a token for worker other"


def test_a_token_made_for_one_process_is_revoked_when_that_ends(cluster):
    token = cluster.make_token("worker", worker_id="w", single=True)
    worker = Worker(cluster, "w", token)
    last = {"workerId": "w", "session": worker.session, "jobs": [], "stopped": True}
    call(cluster.urls[0], token, "workers.heartbeat", last)
    (revoked,) = cluster.sql("select revoked_at is not null from ado.tokens where worker_id = 'w'")
    assert revoked == (True,)


def test_a_worker_that_was_killed_and_starts_again_waits_for_its_token(cluster):
    """As under systemd: nothing locks it out, and its jobs run again."""
    file = cluster.home / "w.token"
    write_token(file, cluster.make_token("worker", worker_id="w"))
    url = ",".join(cluster.urls)
    command = ["worker", "--id", "w", "--url", url, "--token-file", str(file), "--work-dir", str(cluster.home / "work")]
    killed = cluster.start(*command)
    name = cluster.ado("run", "--remote", "--detach", "-o", "name", "--agent", "shell", "sleep 0.2", check=0)
    cluster.ado("wait", name.stdout.decode().strip(), check=0)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    again = cluster.start(*command)
    name = cluster.ado("run", "--remote", "--detach", "-o", "name", "--agent", "shell", "true", check=0)
    cluster.ado("wait", name.stdout.decode().strip(), check=0)
    assert again.poll() is None


def test_a_second_worker_with_the_same_token_ends_with_the_reason(cluster):
    file = cluster.home / "w.token"
    write_token(file, cluster.make_token("worker", worker_id="w"))
    url = ",".join(cluster.urls)
    command = ["worker", "--id", "w", "--url", url, "--token-file", str(file), "--work-dir", str(cluster.home / "work")]
    first = cluster.start(*command)
    until(lambda: cluster.sql("select 1 from ado.workers where last_heartbeat_at > started_at"), "the first worker")
    second = cluster.start(*command)
    assert second.wait(60) == 1
    log = (cluster.home / f"worker-{len(cluster.processes) - 1}.log").read_text()
    assert "belongs to another process" in log
    assert "make a token of its own" in log
    assert first.poll() is None


def test_the_token_of_a_spawned_worker_serves_only_that_worker(cluster):
    cluster.start("spawner", env={"ADO_URL": ",".join(cluster.urls), "ADO_IDLE_SECONDS": "0.5"})
    name = cluster.ado("run", "--remote", "--detach", "-o", "name", "--agent", "shell", "true", check=0)
    cluster.ado("wait", name.stdout.decode().strip(), check=0)
    until(lambda: cluster.sql("select 1 from ado.tokens where single and instance is not null"), "a bound token")
    ended = "select count(*) from ado.tokens where single and revoked_at is null"
    until(lambda: cluster.sql(ended) == [(0,)], "the tokens to be revoked", 60)
