"""Mixed load for hours: what people and programs do, and kills that spare one process of each kind."""

import contextlib
import itertools
import os
import signal
import threading
import time

import psycopg
from chaos.test_chaos import Chaos, workers_of
from chaos.test_words import Person
from support import truth

from app.rpc.client import CallError, NoAnswer
from db.errors import DatabaseUnavailable, PruneBusy
from db.retention import prune

KEPT_SECONDS = 40.0
"""How long an ended task stays. Long enough for a viewer to read it, short enough for a run of minutes to be steady."""


class Load:
    """What people and programs do, from threads of its own, until it is stopped."""

    def __init__(self, field, rng, rate):
        self.counts = {}
        self.errors = []
        self._field, self._rng, self._rate = field, rng, rate
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(work,), name=work.__name__, daemon=True)
            for work in (self._make_tasks, self._clean_up, self._converse, self._watch)
        ]

    def start(self):
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self):
        """Stop the threads, and wait for what each of them is doing."""
        self._stop.set()
        for thread in self._threads:
            thread.join(90)
            if thread.is_alive():
                self.errors.append(f"{thread.name} did not end")

    def _run(self, work):
        person = Person(self._field, self._rng)
        try:
            work(person)
        except Exception as error:
            self.errors.append(f"{work.__name__}: {type(error).__name__}: {error}")
        finally:
            person.close()

    def _count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    def _make_tasks(self, person):
        """Create tasks of every kind in turn, and do to each what its kind says a while later."""
        due = []
        for number in itertools.count():
            if self._stop.wait(1 / self._rate):
                break
            kind, prompt, workers, steps = _KINDS[number % len(_KINDS)]
            wish = {"prompt": prompt, "agent": "shell", "workers": workers, "idempotencyKey": f"soak-{number}"}
            task = person.call("tasks.create", **wish)["taskId"]
            self._count(kind)
            for seconds, path, members in steps:
                due.append(
                    (time.monotonic() + seconds, lambda p=path, m=members, t=task: _try(person, p, taskId=t, **m))
                )
            ripe = [call for at, call in due if at <= time.monotonic()]
            due = [(at, call) for at, call in due if at > time.monotonic()]
            for call in ripe:
                call()
        for _, call in sorted(due, key=lambda step: step[0]):  # a task that stays paused would never end
            call()

    def _clean_up(self, person):
        """Check the logs of tasks that ended a while ago, remove the tasks, and drop the emptied ranges of the log."""
        _try(person, "templates.save", name="soak", task={"prompt": "echo scheduled", "agent": "shell"}, overwrite=True)
        _try(person, "schedules.add", template="soak", cron="* * * * *")
        while not self._stop.wait(5):
            with contextlib.suppress(psycopg.Error):
                ended = "finished_at < now() - make_interval(secs => %s) order by task_id limit 100"
                for (number,) in self._field.sql(f"select task_id from ado.tasks where {ended}", KEPT_SECONDS):
                    log = truth.stored(self._field, f"task-{number}")
                    _check(log)
                    person.call("tasks.remove", taskId=f"task-{number}")
                    self._count("checked and removed")
            with contextlib.suppress(PruneBusy, DatabaseUnavailable):
                for _ in prune(self._field.dsn, KEPT_SECONDS):
                    self._count("ranges of the log dropped")

    def _converse(self, person):
        """Talk with one agent after the other: a word, its question, the answer."""
        for number in itertools.count():
            task = person.create(2 * number)
            self._count("conversation")
            for word in ("[word 1]", "[word 2]", "[end]"):
                _try(person, "tasks.send", taskId=task, text=word, idempotencyKey=f"{task}-{word}")
                for _ in range(10):
                    if self._stop.wait(0.5):
                        _try(person, "tasks.cancel", taskId=task)
                        return
                    person.answer_all()

    def _watch(self, person):
        """Attach to the newest task and leave, by a command that is killed or runs to its end."""
        while not self._stop.wait(2):
            with contextlib.suppress(psycopg.Error, CallError, NoAnswer):
                command = self._field.cluster.open("attach", self._field.cluster.last_task(), "-o", "jsonl")
                if self._rng.random() < 0.5:
                    time.sleep(0.5)  # somewhere in its life
                    command.kill()
                command.communicate(timeout=120)
                self._field.cluster.processes.remove(command)
                self._count("viewer")


_LINES = 'for i in $(seq 20); do echo "line $i of a task"; sleep 0.1; done'
_BURST = "head -c 300000 /dev/zero | tr '\\0' x | fold -w 100"
_KINDS = [
    ("lines", _LINES, 1, []),
    ("burst", _BURST, 1, []),
    ("two jobs", _LINES, 2, []),
    ("failure, retried", "sleep 0.5; exit 3", 1, [(6.0, "tasks.retry", {})]),
    ("cancelled", "sleep 60", 1, [(4.0, "tasks.cancel", {})]),
    ("paused", _LINES, 1, [(1.0, "tasks.pause", {}), (5.0, "tasks.resume", {})]),
]


def _check(log):
    """A log has no gap, ends with its task's end, and has one end more for each retry."""
    types = [event["type"] for event in log]
    assert [event["seq"] for event in log] == list(range(1, len(log) + 1))
    assert types[-1] in _ENDS
    assert sum(kind in _ENDS for kind in types) == 1 + types.count("retried")


_ENDS = ("succeeded", "failed", "cancelled")


def _try(person, path, **value):
    """Call; what the server refuses is the answer, as when a task has ended already."""
    with contextlib.suppress(CallError):
        person.call(path, **value)


class Kills(Chaos):
    """Kills one thing after the other, but never the first replica, the first spawner and the worker by hand."""

    def _kill_replica(self):
        self.done.append("replica 1")
        self.field.kill_replica(1)

    def kill_spawner(self):
        kept, *others = self.spawners
        self.spawners = others
        super().kill_spawner()
        self.spawners.insert(0, kept)

    def _kill_worker(self):
        kept = {worker.pid for worker in self.field.workers}
        ask = "select pid from ado.workers where stopped_at is null order by worker_id"
        pids = [pid for (pid,) in self.field.sql(ask) if pid not in kept and pid in workers_of(self.field)]
        if pids:
            self.done.append("worker")
            with contextlib.suppress(ProcessLookupError):  # idle workers end by themselves
                os.kill(self.rng.choice(pids), signal.SIGKILL)
