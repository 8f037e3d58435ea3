"""Workers, replicas, spawners and Postgres are killed while many tasks run: every task ends right, once, by itself.

Ten workers, two replicas and two spawners; after every so many finished jobs a seed decides what is killed. Replicas,
spawners and Postgres are started again, as a supervisor would; workers are the spawners' to replace.
"""

import contextlib
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest
from support import truth
from support.field import REPLICAS, Field
from support.program import exists, processes_with, until

from app.rpc.client import CallError, HttpClient, NoAnswer

WORKERS, SPAWNERS = 10, 2
SETTINGS = {
    "ADO_LOSSES": "10",
    "ADO_IDLE_SECONDS": "2",
    "ADO_START_SECONDS": "10",
    "ADO_WORKER_CAPABILITIES": "shell",
    "ADO_WORKER_STOP_SECONDS": "10",
}


class Chaos:
    """A field with two spawners, and the kills."""

    def __init__(self, field, rng, marker):
        self.field = field
        self.rng = rng
        self._marker = marker
        self.spawners = []
        self._kinds = []
        self.done = []

    def start_spawner(self):
        cluster = self.field.cluster
        cluster.env["ADO_DSN"] = self.field.dsn
        arguments = ["--max", str(WORKERS), "--url", ",".join(self.field.work_urls)]
        self.spawners.append(cluster.start("spawner", *arguments, "--work-dir", str(self.field.home / "work")))

    def create(self, count):
        """Create tasks, some of two jobs, until each is acknowledged; return their ids."""
        made = []
        client = HttpClient(self.field.view_urls, self.field.cluster.token)
        for number in range(count):
            lines, pause = self.rng.randint(1, 5), round(self.rng.uniform(0.02, 0.3), 2)
            script = f": {self._marker}; for i in $(seq {lines}); do echo {number}.$i; sleep {pause}; done"
            jobs = 2 if number % 10 == 0 else 1
            wish = {"prompt": script, "agent": "shell", "workers": jobs, "idempotencyKey": f"{self._marker}-{number}"}
            made.append(_answered(client, wish)["taskId"])
        client.close()
        return made

    def finished(self):
        return self.field.sql("select count(*) from ado.jobs where finished_at is not null")[0][0]

    def kill_one(self):
        """Kill one process of the next kind; every kind comes once before any comes again."""
        if not self._kinds:
            self._kinds = [self._kill_worker, self._kill_replica, self.kill_spawner, self._kill_postgres]
            self.rng.shuffle(self._kinds)
        self._kinds.pop()()

    def _kill_worker(self):
        ask = """select w.worker_id, w.pid from ado.workers w join ado.worker_status s using (worker_id)
                 where s.state in ('busy', 'idle') order by s.state, w.worker_id"""
        rows = [row for row in self.field.sql(ask) if row[0] in _command_of(row[1])]
        if rows:
            worker_id, pid = self.rng.choice([row for row in rows if row[1]])
            os.kill(pid, signal.SIGKILL)
            self.done.append(f"worker {worker_id}")

    def _kill_replica(self):
        index = self.rng.randrange(REPLICAS)
        self.done.append(f"replica {index}")
        self.field.kill_replica(index)

    def kill_spawner(self):
        """Kill a spawner, and start another one."""
        spawner = self.spawners.pop(self.rng.randrange(len(self.spawners)))
        self.done.append(f"spawner {spawner.pid}")
        spawner.kill()
        spawner.wait()
        self.start_spawner()

    def _kill_postgres(self):
        self.done.append("Postgres")
        self.field.kill_postgres()


def _command_of(pid):
    with contextlib.suppress(OSError, TypeError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


def workers_of(field):
    return [pid for pid in processes_with(str(field.home / "work")) if "\0worker\0" in _command_of(pid)]


def _answered(client, wish):
    end = time.monotonic() + 60
    while True:
        try:
            return client.mutate("tasks.create", wish)
        except (CallError, NoAnswer):
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


@pytest.mark.timeout(3600)
def test_every_task_ends_correctly_and_once_under_random_kills(chaos_seed, task_count, every):
    marker = f"ado-chaos-{os.getpid()}-{chaos_seed}"
    with Field(env=SETTINGS) as field:
        chaos = Chaos(field, random.Random(chaos_seed), marker)
        try:
            _run(chaos, task_count, every)
            end_all(chaos, marker)
        finally:
            sys.stdout.write(f"seed {chaos_seed}, {task_count} tasks: killed {', '.join(chaos.done)}\n")
            for pid in workers_of(field):
                os.kill(pid, signal.SIGKILL)
    assert not processes_with(str(field.home))


def _run(chaos, task_count, every):
    """Kill on and on until all jobs are through; then look at every log."""
    field = chaos.field
    for _ in range(SPAWNERS):
        chaos.start_spawner()
    began = time.monotonic()
    names = chaos.create(task_count)
    jobs = field.sql("select count(*) from ado.jobs")[0][0]
    due = every
    while (count := chaos.finished()) < jobs:
        if count >= due:
            chaos.kill_one()
            due += every
        assert time.monotonic() - began < 60 + 3 * task_count, f"{count} of {jobs} jobs ended: {_stuck(field)}"
        time.sleep(0.05)
    until(lambda: field.sql("select count(*) from ado.tasks where finished_at is null")[0][0] == 0, "verdicts")
    sys.stdout.write(f"{jobs} jobs in {time.monotonic() - began:.1f} s; {len(chaos.done)} kills\n")
    for name in names:
        _check(field, name)


def _check(field, name):
    log = truth.stored(field, name)
    truth.check_order(log)
    assert log[-1]["type"] == "succeeded", (name, log[-1])
    finished = [event for event in log if event["type"] == "finished"]
    jobs = field.sql("select job, status, attempt from ado.jobs where task_id = %s", _number(name))
    assert sorted((event["job"], event["body"]["outcome"], event["attempt"]) for event in finished) == sorted(jobs)
    output = truth.output_of(log)
    ((prompt,),) = field.sql("select prompt from ado.tasks where task_id = %s", _number(name))
    lines = int(prompt.split("seq ")[1][0])
    for job, _, attempt in jobs:
        assert len(output[job, attempt, "stdout"].splitlines()) == lines, name


def _number(name):
    return int(name.removeprefix("task-"))


def _stuck(field):
    ask = "select job_id, status, attempt, losses, worker_id from ado.job_status where finished_at is null limit 10"
    return field.sql(ask), field.sql("select worker_id, state, running_jobs from ado.worker_status")


def end_all(chaos, marker):
    """Idle workers end by themselves, orphans of killed spawners too; then nothing is left of anything."""
    field = chaos.field
    ask = "select worker_id, state from ado.worker_status where state not in ('stopped', 'dead')"
    until(lambda: field.sql(ask) == [], "the idle workers to end", 120)
    until(lambda: not workers_of(field), "the workers' processes to end", 60)
    assert not processes_with(marker)
    for spawner in chaos.spawners:
        spawner.terminate()
    assert [spawner.wait(60) for spawner in chaos.spawners] == [0] * SPAWNERS
    assert field.sql("select count(*) from ado.jobs where status in ('queued', 'running')") == [(0,)]
    assert list((field.home / "work").iterdir()) == []
    for replica in field.replicas:
        replica.terminate()
        replica.wait(60)
    assert not [process.pid for process in field.cluster.processes if exists(process.pid)]
    for port in field.ports:
        with pytest.raises(NoAnswer):
            HttpClient([f"http://127.0.0.1:{port}"], None).query("workers.status")
