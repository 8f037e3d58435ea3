"""A task of 1,000 jobs on 1,000 workers: what happens to all of them at once costs less than a call of each.

The cost is the processor time of the replicas and of Postgres. Elapsed time would depend on who else uses the machine,
and what a call of each costs is measured in the same run, because machines differ.
"""

import contextlib
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.program import Cluster, until
from websockets.sync.client import connect

from app.rpc.client import HttpClient

WIDTH = 1000
THREADS = 8
# The workers have no process that sends heartbeats. They must not be silent for too long while the tests run.
TIMES = {"ADO_HEARTBEAT_SECONDS": "5", "ADO_SUSPECT_SECONDS": "1200", "ADO_LEASE_SECONDS": "2400"}
EXPIRE = "update ado.jobs set lease_expires_at = now() - interval '1 minute' where status = 'running' returning 1"
MACHINE = {"cpu": 64, "memory": 2**30}
BACKENDS = "select pid from pg_stat_activity where datname = current_database()"


class Crew:
    """1,000 workers that are rows and calls, without processes, at two replicas."""

    def __init__(self, cluster):
        self.cluster = cluster
        self._local = threading.local()
        self._clients = []
        self._pool = ThreadPoolExecutor(THREADS)
        self.each_cost = 0.0
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
        """Run ``work(name)`` for every worker; return the results in order, and remember what that cost."""
        began = self.processor_times()
        results = list(self._pool.map(work, self.names))
        self.each_cost = self._cost(began)
        return results

    def cost(self, act, done=lambda: True):
        """Return the processor time of an act and what follows from it, in seconds."""
        began = self.processor_times()
        act()
        until(done)
        return self._cost(began)

    def processor_times(self):
        """Return the processor time of each replica and each backend of its database, in seconds."""
        pids = [replica.pid for replica in self.cluster.replicas] + [pid for (pid,) in self.cluster.sql(BACKENDS)]
        times = {}
        for pid in pids:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # the backend of the query above has ended
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                times[pid] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return times

    def _cost(self, began):
        return sum(time - began.get(pid, 0) for pid, time in self.processor_times().items())

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

    def end_tasks(self):
        """End what a test has left, for example because it failed: the workers would claim it in the next one."""
        for (number,) in self.cluster.sql(
            "select distinct task_id from ado.jobs where status in ('queued', 'running')"
        ):
            self.call("tasks.cancel", taskId=f"task-{number}")
        self.cluster.sql(EXPIRE)
        until(lambda: not self.cluster.sql("select 1 from ado.jobs where status in ('queued', 'running')"), "the end")

    def close(self):
        self._pool.shutdown()
        for client in self._clients:
            client.close()


@pytest.fixture(scope="module")
def shared_crew(shared_dsn, tmp_path_factory):
    cluster = Cluster(shared_dsn, tmp_path_factory.mktemp("wide"), env=TIMES)
    try:
        made = Crew(cluster.add_replicas(2))
        yield made
        made.close()
    finally:
        cluster.close()


@pytest.fixture
def crew(shared_crew):
    yield shared_crew
    shared_crew.end_tasks()


class Streams:
    """The command streams of all workers, a hundred a socket, at both replicas in turn."""

    def __init__(self, crew):
        self._crew = crew
        self._closing = threading.Event()
        self._heard = {name: set() for name in crew.names}
        groups = [crew.names[first : first + 100] for first in range(0, WIDTH, 100)]
        urls = [url.replace("http", "ws") + "/trpc" for url in crew.cluster.urls]
        self._pool = ThreadPoolExecutor(len(groups))
        self._readers = [self._pool.submit(self._read, urls[number % 2], names) for number, names in enumerate(groups)]

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
            assert "result" in answer, text
            result = answer["result"]
            self._heard[names[answer["id"]]].add(result["data"]["data"]["type"] if "data" in result else result["type"])

    def all_heard(self, kind, names=None):
        for reader in self._readers:
            if reader.done():
                reader.result()  # raises what a server has answered
        return all(kind in self._heard[name] for name in names or self._heard)

    def until_polled(self):
        """Wait until each replica has looked at what the workers hold now.

        A drain without a hint is found by a poll. The current poll may have begun earlier, the next one has not.
        """
        drain = "update ado.workers set draining = %s where worker_id = any(%s) returning 1"
        for number in range(2):
            names = [self._crew.names[number], self._crew.names[100 + number]]
            self._crew.cluster.sql(drain, True, names)
            until(lambda names=names: self.all_heard("drain", names), "a poll")
            self._crew.cluster.sql(drain, False, names)

    def close(self):
        self._closing.set()
        self._pool.shutdown()


def test_a_wide_task_is_created_retried_and_cancelled_in_the_queue(crew):
    made = []
    wish = {"prompt": "x", "agent": "nobody", "workers": WIDTH}
    crew.each(crew.beat)
    assert crew.cost(lambda: made.append(crew.call("tasks.create", **wish))) < crew.each_cost
    name = made[0]["taskId"]
    assert crew.cost(lambda: crew.call("tasks.cancel", taskId=name)) < crew.each_cost
    assert crew.count(name, "status = 'cancelled'") == WIDTH
    assert crew.cost(lambda: crew.call("tasks.retry", taskId=name)) < crew.each_cost
    assert crew.count(name, "status = 'queued'") == WIDTH


def test_a_wide_task_is_cancelled_while_a_thousand_workers_send_heartbeats(crew):
    task, jobs = crew.run()
    with ThreadPoolExecutor(1) as beside:
        beats = beside.submit(lambda: crew.each(crew.beat))
        crew.call("tasks.cancel", taskId=task)
        assert not beats.done()
        assert len(beats.result()) == WIDTH
    assert crew.count(task, "stop_reason = 'cancelled'") == WIDTH
    crew.each(lambda name: crew.finish(name, jobs[name], "cancelled"))
    assert crew.cluster.task(task)["status"] == "cancelled"


def test_every_worker_gets_a_cancel_and_a_loss_by_its_stream(crew):
    """A stream reads as much as two calls do."""
    with contextlib.closing(Streams(crew)) as streams:
        until(lambda: streams.all_heard("started"))
        task, jobs = crew.run()
        cost = crew.cost(lambda: crew.call("tasks.cancel", taskId=task), lambda: streams.all_heard("cancel"))
        assert cost < 2 * crew.each_cost
        crew.each(lambda name: crew.finish(name, jobs[name], "cancelled"))
        task, _ = crew.run()
        streams.until_polled()
        crew.cluster.sql(EXPIRE)
        until(lambda: crew.count(task, "status = 'queued'") == WIDTH)
        assert crew.cost(lambda: None, lambda: streams.all_heard("lost")) < 2 * crew.each_cost


def test_one_failure_stops_all_siblings(crew):
    task, jobs = crew.run(onFailure="fail_fast")
    first = crew.names[0]
    cost = crew.cost(
        lambda: crew.finish(first, jobs[first], "failed", exitCode=3),
        lambda: crew.count(task, "stop_reason = 'sibling_failed'") == WIDTH - 1,
    )
    assert cost < crew.each_cost
    crew.each(lambda name: crew.finish(name, jobs[name], "cancelled"))
    found = crew.cluster.task(task)
    assert (found["status"], found["failedJob"]) == ("failed", jobs[first]["job"])


def test_the_loss_of_every_worker_queues_every_job_again(crew):
    task, _ = crew.run()
    crew.cluster.sql(EXPIRE)
    until(lambda: crew.count(task, "status = 'queued'") == WIDTH)
    ends = "select count(*), count(distinct at) from ado.events where type = 'requeued' and task_id = %s"
    assert crew.cluster.sql(ends, int(task.removeprefix("task-"))) == [(WIDTH, 1)]  # one statement for all
    assert crew.call("workers.heartbeat", workerId=crew.names[0], session=crew.sessions[crew.names[0]])["lost"] == []
    logs = [path.read_text() for path in crew.cluster.home.glob("api-*.log")]
    assert not [line for log in logs for line in log.splitlines() if json.loads(line)["level"] == "error"]
