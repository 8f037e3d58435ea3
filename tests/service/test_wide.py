"""A task of 1,000 jobs on 1,000 workers: what happens to all of them at once takes two seconds at most."""

import contextlib
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.program import Cluster, until
from websockets.sync.client import connect

from app.rpc.client import HttpClient

WIDTH = 1000
LIMIT = 2.0
THREADS = 8
TIMES = {"ADO_HEARTBEAT_SECONDS": "5", "ADO_SUSPECT_SECONDS": "60", "ADO_LEASE_SECONDS": "120"}
EXPIRE = "update ado.jobs set lease_expires_at = now() - interval '1 minute' where status = 'running' returning 1"
MACHINE = {"cpu": 64, "memory": 2**30}


class Crew:
    """1,000 workers that are rows and calls, without processes, at two replicas."""

    def __init__(self, cluster):
        self.cluster = cluster
        self._local = threading.local()
        self._clients = []
        self._pool = ThreadPoolExecutor(THREADS)
        self.names = [f"ado-task-123-{number}-d{number + 1000}" for number in range(WIDTH)]
        self.sessions = dict(zip(self.names, self.each(self._register), strict=True))

    def call(self, path, **value):
        """Call a mutation, each thread by a connection of its own."""
        if not hasattr(self._local, "client"):
            urls = self.cluster.urls if len(self._clients) % 2 else self.cluster.urls[::-1]
            self._local.client = HttpClient(urls, self.cluster.token)
            self._clients.append(self._local.client)
        return self._local.client.mutate(path, value)

    def each(self, work):
        """Run ``work(name)`` for every worker; return the results in order."""
        return list(self._pool.map(work, self.names))

    def _register(self, name):
        wish = {"workerId": name, "instance": "i", "capabilities": ["wide"], "resources": MACHINE, "slots": 10}
        return self.call("workers.register", **wish)["session"]

    def beat(self, name):
        return self.call("workers.heartbeat", workerId=name, session=self.sessions[name], jobs=[])

    def run(self, **wish):
        """Create a task, have each worker claim a job of it, and return its id and the claimed jobs by worker."""
        task = self.call("tasks.create", prompt="x", agent="wide", workers=WIDTH, **wish)["taskId"]
        claimed = self.each(lambda name: self.call("workers.claim", workerId=name, session=self.sessions[name])["jobs"])
        jobs = {name: jobs[0] for name, jobs in zip(self.names, claimed, strict=True)}
        assert {job["taskId"] for job in jobs.values()} == {task}
        return task, jobs

    def finish(self, name, job, outcome, **more):
        fence = {"workerId": name, "jobId": job["jobId"], "attempt": job["attempt"]}
        return self.call("workers.finish", **fence, outcome=outcome, **more)

    def count(self, task, condition):
        number = int(task.removeprefix("task-"))
        return self.cluster.sql(f"select count(*) from ado.jobs where task_id = %s and {condition}", number)[0][0]

    def close(self):
        self._pool.shutdown()
        for client in self._clients:
            client.close()


@pytest.fixture(scope="module")
def crew(shared_dsn, tmp_path_factory):
    cluster = Cluster(shared_dsn, tmp_path_factory.mktemp("wide"), env=TIMES)
    try:
        made = Crew(cluster.add_replicas(2))
        yield made
        made.close()
    finally:
        cluster.close()


class Streams:
    """The command streams of all workers, a hundred a socket, at both replicas in turn."""

    def __init__(self, crew):
        self._crew = crew
        self._closing = threading.Event()
        self._heard = {name: set() for name in crew.names}
        groups = [crew.names[first : first + 100] for first in range(0, WIDTH, 100)]
        urls = [url.replace("http", "ws") + "/trpc" for url in crew.cluster.urls]
        self._readers = [
            threading.Thread(target=self._read, args=(urls[number % 2], names)) for number, names in enumerate(groups)
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, url, names):
        with connect(url, additional_headers={"Authorization": f"Bearer {self._crew.cluster.token}"}) as socket:
            for number, name in enumerate(names):
                wish = {"path": "workers.commands", "input": {"workerId": name, "session": self._crew.sessions[name]}}
                socket.send(json.dumps({"id": number, "method": "subscription", "params": wish}))
            while not self._closing.is_set():
                with contextlib.suppress(TimeoutError):
                    self._hear(socket, names, socket.recv(timeout=0.2))

    def _hear(self, socket, names, text):
        if text == "PING":
            socket.send("PONG")
        else:
            answer = json.loads(text)
            result = answer["result"]
            self._heard[names[answer["id"]]].add(result["data"]["data"]["type"] if "data" in result else result["type"])

    def all_heard(self, kind):
        return all(kind in heard for heard in self._heard.values())

    def close(self):
        self._closing.set()
        for reader in self._readers:
            reader.join()


def seconds(act, done=lambda: True):
    began = time.monotonic()
    act()
    until(done)
    return time.monotonic() - began


def test_it_is_created_and_retried_and_cancelled_in_the_queue(crew):
    made = []
    wish = {"prompt": "x", "agent": "nobody", "workers": WIDTH}
    assert seconds(lambda: made.append(crew.call("tasks.create", **wish))) < LIMIT
    name = made[0]["taskId"]
    assert seconds(lambda: crew.call("tasks.cancel", taskId=name)) < LIMIT
    assert crew.count(name, "status = 'cancelled'") == WIDTH
    assert seconds(lambda: crew.call("tasks.retry", taskId=name)) < LIMIT
    assert crew.count(name, "status = 'queued'") == WIDTH
    crew.call("tasks.cancel", taskId=name)


def test_it_is_cancelled_while_a_thousand_workers_beat(crew):
    task, jobs = crew.run()
    with ThreadPoolExecutor(1) as beside:
        beats = beside.submit(lambda: crew.each(crew.beat))
        assert seconds(lambda: crew.call("tasks.cancel", taskId=task)) < LIMIT
        assert len(beats.result()) == WIDTH
    assert crew.count(task, "stop_reason = 'cancelled'") == WIDTH
    crew.each(lambda name: crew.finish(name, jobs[name], "cancelled"))
    assert crew.cluster.task(task)["status"] == "cancelled"


def test_every_worker_hears_of_a_cancel_and_of_a_loss_by_its_stream(crew):
    streams = Streams(crew)
    until(lambda: streams.all_heard("started"))
    task, jobs = crew.run()
    took = seconds(lambda: crew.call("tasks.cancel", taskId=task), lambda: streams.all_heard("cancel"))
    assert took < LIMIT
    crew.each(lambda name: crew.finish(name, jobs[name], "cancelled"))
    task, _ = crew.run()
    until(lambda: crew.count(task, "started_at > now() - interval '2 seconds'") == 0)  # every replica has polled since
    took = seconds(lambda: crew.cluster.sql(EXPIRE), lambda: streams.all_heard("lost"))
    assert took < 2 * LIMIT  # the monitor's tick comes before the streams
    crew.call("tasks.cancel", taskId=task)
    streams.close()


def test_one_failure_stops_all_siblings(crew):
    task, jobs = crew.run(onFailure="fail_fast")
    first = crew.names[0]
    took = seconds(
        lambda: crew.finish(first, jobs[first], "failed", exitCode=3),
        lambda: crew.count(task, "stop_reason = 'sibling_failed'") == WIDTH - 1,
    )
    assert took < LIMIT
    crew.each(lambda name: crew.finish(name, jobs[name], "cancelled"))
    found = crew.cluster.task(task)
    assert (found["status"], found["failedJob"]) == ("failed", jobs[first]["job"])


def test_the_loss_of_every_worker_queues_every_job_again(crew):
    task, _ = crew.run()
    took = seconds(lambda: crew.cluster.sql(EXPIRE), lambda: crew.count(task, "status = 'queued'") == WIDTH)
    assert took < LIMIT
    assert crew.call("workers.heartbeat", workerId=crew.names[0], session=crew.sessions[crew.names[0]])["lost"] == []
    crew.call("tasks.cancel", taskId=task)
    logs = [path.read_text() for path in crew.cluster.home.glob("api-*.log")]
    assert not [line for log in logs for line in log.splitlines() if json.loads(line)["level"] == "error"]
