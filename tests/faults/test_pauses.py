"""Tasks are paused and resumed while workers and replicas are killed: each job keeps its work, waits and ends once.

A seed decides what is killed and when, most often between the pause and the hand-back.
"""

import contextlib
import json
import random

import pytest
from support.postgres import fast_directory, remove
from support.program import Cluster, until

from app.rpc.client import CallError, HttpClient, NoAnswer

JOBS, ROUNDS, STEPS = 2, 5, 12
CHECKPOINTS = {"ADO_CHECKPOINT_SECONDS": "0", "ADO_GRACE_SECONDS": "1"}


class Storm:
    """Two replicas and two workers, one of which is killed after a pause."""

    def __init__(self, cluster, rng):
        self.cluster = cluster
        self._rng = rng
        self._workers = [self._add_worker() for _ in range(2)]

    def _add_worker(self):
        name = f"w{len(self.cluster.processes)}"
        return self.cluster.add_worker(name, "--capability", "scripted", "--slots", "2", env=CHECKPOINTS)

    def call(self, path, **value):
        """Call any replica until one answers; both calls may be repeated."""
        for _ in range(100):
            client = HttpClient(self.cluster.urls, self.cluster.token)
            with contextlib.closing(client), contextlib.suppress(NoAnswer):
                return client.mutate(path, value)
        raise AssertionError(f"{path} got no answer")

    def strike(self):
        kind = self._rng.choice(["worker", "worker", "replica", "both", "nothing"])
        if kind in ("worker", "both"):
            victim = self._workers.pop(self._rng.randrange(len(self._workers)))
            victim.kill()
            self._workers.append(self._add_worker())
        if kind in ("replica", "both"):
            number = self._rng.randrange(len(self.cluster.replicas))
            self.cluster.replicas[number].kill()
            self.cluster.replicas[number].wait()
            port = self.cluster.urls[number].rpartition(":")[2]  # workers know the address
            self.cluster.replicas[number] = self.cluster.start("api", "--port", port)


def log_of(cluster):
    rows = cluster.sql("select seq, job, attempt, type, body, data from ado.events where task_id = 1 order by seq")
    return [(seq, job, attempt, kind, body or {}, bytes(data or b"")) for seq, job, attempt, kind, body, data in rows]


def check(log):
    """Walk through the log: no job starts while it is paused, and each ends once."""
    assert [event[0] for event in log] == list(range(1, len(log) + 1))
    states, pausing, finished = dict.fromkeys(range(JOBS), "queued"), set(), []
    for _, job, _, kind, body, _ in log:
        if kind == "paused":
            pausing |= {number for number, state in states.items() if state == "running"}
            states |= {number: "paused" for number, state in states.items() if state == "queued"}
        elif kind == "resumed":
            states |= {number: "queued" for number, state in states.items() if state == "paused"}
            pausing.clear()
        elif kind == "started":
            assert states[job] == "queued"
            states[job] = "running"
        elif kind in ("released", "requeued", "continued"):
            assert states[job] == "running"
            assert body.get("paused", False) == (job in pausing)
            states[job] = "paused" if job in pausing else "queued"
            pausing.discard(job)
        elif kind == "finished":
            finished.append((job, body["outcome"]))
            states[job] = "ended"
            pausing.discard(job)
    assert sorted(finished) == [(number, "succeeded") for number in range(JOBS)]
    assert log[-1][3] == "succeeded"


@pytest.mark.timeout(300)
def test_jobs_are_paused_and_resumed_exactly_under_random_kills(dsn, seed):
    rng, home = random.Random(seed), fast_directory()
    cluster = Cluster(dsn, home)
    try:
        cluster.add_replicas(2)
        storm = Storm(cluster, rng)
        steps = [step for n in range(STEPS) for step in ({"say": f"step {n}"}, {"turn": "s"}, {"sleep": 0.3})]
        script = "\n".join(map(json.dumps, steps))
        storm.call("tasks.create", prompt=script, agent="scripted", workers=JOBS, workspace={}, idempotencyKey="one")
        for number in range(ROUNDS):
            due = len(log_of(cluster)) + rng.randint(1, 6)
            until(lambda due=due: len(log_of(cluster)) >= due or ended(cluster), "progress", 60)
            storm.call("tasks.pause", taskId="task-1")
            storm.strike()
            until(lambda: status(cluster) == "paused" or ended(cluster), "the pause", 60)
            if ended(cluster):
                break
            assert cluster.sql("select from ado.jobs where worker_id is not null and status = 'running'") == []
            with contextlib.suppress(CallError):  # it has just ended
                storm.call("tasks.resume", taskId="task-1", text=f"words {number}", idempotencyKey=f"key {number}")
        until(lambda: ended(cluster), "the end", 120)
        log = log_of(cluster)
        check(log)
        delivered = [(job, body["messageId"]) for _, job, _, kind, body, _ in log if kind == "delivered"]
        assert len(delivered) == len(set(delivered))
        said = b"".join(data for *_, kind, _, data in log if kind == "output")
        assert all(said.count(f"step {n}\n".encode()) >= JOBS for n in range(STEPS))
    except BaseException as error:
        error.add_note(f"seed {seed}")
        raise
    finally:
        cluster.close()
        remove(home)


def status(cluster):
    return cluster.sql("select status from ado.tasks")[0][0]


def ended(cluster):
    return status(cluster) in ("succeeded", "failed", "cancelled")
