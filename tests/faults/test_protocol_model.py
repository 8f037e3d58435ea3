"""The worker protocol against a model of its contract: calls that are late, doubled and out of order.

The model is pure and small; the machine carries every call out on the real procedures and statements and compares the
answer, the jobs and the log after each step. A call that is kept back arrives at any later moment, as a network may
have it. Hypothesis looks for the shortest story that tells them apart.
"""

import asyncio
from collections import Counter

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support.contract import JOBS, RETRIES, SLOTS, WORKERS, Model

from app.context import Context
from app.main import Replica
from app.rpc.errors import ProcedureError
from app.settings import AppSettings
from db.database import Database
from db.model import Token


class Real:
    """The procedures of one replica over a database, run step by step."""

    def __init__(self, dsn):
        self.loop = asyncio.new_event_loop()
        self.db = self.run(Database.open(dsn, size=2))
        replica = Replica(AppSettings(dsn=dsn), self.db)
        self.procedures = replica.registry.procedures
        admin = Token("t", "admin", None, None, None, None, None, None, True)
        self.context = Context(replica.services, admin, "")
        self.monitor = replica

    def run(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    def close(self):
        self.run(self.db.close())
        self.loop.close()

    def call(self, path, **value):
        """Carry out a call; return its output, or the reason of its refusal."""
        procedure = self.procedures[path]
        try:
            return self.run(procedure.handler(self.context, *procedure.decode(value)))
        except ProcedureError as error:
            return error.reason

    def sql(self, statement, *values):
        return self.run(self.db._pool.fetch(statement, *values))


class Protocol(RuleBasedStateMachine):
    """Calls of two workers, a person and the monitor on one task."""

    real = None
    examples = Counter()

    @initialize()
    def begin(self):
        Protocol.examples["all"] += 1
        self.mark = f"c{Protocol.examples['all']}"
        self.model = Model()
        made = self.real.call(
            "tasks.create", prompt="x", agent="shell", workers=JOBS, retries=RETRIES, requires=[self.mark]
        )
        self.task = made.task_id
        self.number = int(self.task.removeprefix("task-"))
        self.instances = Counter()
        self.sessions = {}
        for worker in WORKERS:
            self._register(worker)
        self.late = []
        self.known = []
        self._claim("a", 2)

    def _name(self, worker):
        return f"{self.mark}-{worker}"

    def _register(self, worker):
        self.instances[worker] += 1
        self.sessions[worker] = self.real.call(
            "workers.register",
            workerId=self._name(worker),
            capabilities=["shell", self.mark],
            slots=SLOTS,
            instance=str(self.instances[worker]),
        ).session

    def _fence(self, worker, key):
        return {"workerId": self._name(worker), "jobId": f"{self.task}/{key[0]}", "attempt": key[1]}

    def _key(self, pick):
        """Choose an attempt that somebody was given; all stay in play, the newest most of all."""
        return self.known[-1 - pick % len(self.known)] if self.known else (0, 1)

    def _arrive(self, call, fate):
        """Let a call arrive now, twice, or at some later moment."""
        if fate == "late":
            self.late.append(call)
            return
        for _ in range(2 if fate == "twice" else 1):
            kind, *arguments = call
            getattr(self, f"_{kind}")(*arguments)

    fates = st.sampled_from(["now", "now", "twice", "late"])
    workers = st.sampled_from(WORKERS)
    picks = st.sampled_from([0, 0, 0, 1, 1, 2, 3, 4])
    rarely = st.integers(0, 9)

    @rule(worker=workers, limit=st.integers(1, 3), fate=fates)
    def claim(self, worker, limit, fate):
        self._arrive(("claim", worker, limit), fate)

    def _claim(self, worker, limit):
        self.real.sql("update ado.jobs set run_after = now() where task_id = $1 and run_after > now()", self.number)
        answer = self.real.call(
            "workers.claim", workerId=self._name(worker), session=self.sessions[worker], limit=limit
        )
        taken = self.model.claim(worker, limit)
        assert [(job.job, job.attempt) for job in answer.jobs] == taken
        self.known += taken

    @rule(worker=workers, pick=picks, events=st.integers(0, 2), fate=fates)
    def append_next(self, worker, pick, events, fate):
        self.append(worker, pick, 1, events, fate)

    @rule(worker=workers, pick=picks, step=st.sampled_from([0, 1, 1, 1, 1, 2]), events=st.integers(0, 2), fate=fates)
    def append(self, worker, pick, step, events, fate):
        key = self._key(pick)
        holder = self.model.jobs[key[0]].worker
        batch = max(1, self.model.jobs[key[0]].batch + step)
        self._arrive(("append", holder if holder and step else worker, key, batch, events), fate)

    def _append(self, worker, key, batch, events):
        answer = self.real.call(
            "workers.append",
            **self._fence(worker, key),
            batch=batch,
            events=[{"type": "output", "data": "x"}] * events,
        )
        found = answer if isinstance(answer, str) else "ok"
        assert found == self.model.append(worker, *key, batch, events)
        if found == "ok":
            assert answer.acknowledged == batch

    @rule(
        worker=workers,
        pick=picks,
        ahead=st.sampled_from([None, 0, 0, 0, 1]),
        outcome=st.sampled_from(["succeeded", "failed", "cancelled", "released"]),
        fate=fates,
    )
    def finish(self, worker, pick, ahead, outcome, fate):
        key = self._key(pick)
        holder = self.model.jobs[key[0]].worker
        last = None if ahead is None else self.model.jobs[key[0]].batch + ahead
        self._arrive(("finish", holder if holder and pick < 2 else worker, key, last, outcome), fate)

    def _finish(self, worker, key, last, outcome):
        answer = self.real.call(
            "workers.finish",
            **self._fence(worker, key),
            outcome=outcome,
            **({} if last is None else {"lastBatch": last}),
        )
        found = answer if isinstance(answer, str) else "ok"
        assert found == self.model.finish(worker, *key, last, outcome)

    @rule(worker=workers, picks=st.sets(picks, max_size=3), fate=fates)
    def heartbeat(self, worker, picks, fate):
        self._arrive(("heartbeat", worker, {self._key(pick) for pick in picks} if self.known else set()), fate)

    def _heartbeat(self, worker, listed):
        answer = self.real.call(
            "workers.heartbeat",
            workerId=self._name(worker),
            session=self.sessions[worker],
            jobs=[{"jobId": f"{self.task}/{job}", "attempt": attempt} for job, attempt in listed],
        )
        lost, cancel = self.model.heartbeat(worker, listed)
        assert {_key(ref) for ref in answer.lost} == lost
        assert {_key(ref) for ref in answer.cancel} == cancel

    @rule(pick=picks, often=st.integers(0, 3))
    def expire(self, pick, often):
        """A lease runs out, and two monitors see it."""
        if often:
            return
        number, attempt = self._key(pick)
        self.real.run(_monitor(self.real))  # else a slow machine is an outage of the control plane, which moves leases
        self.real.sql(
            "update ado.jobs set lease_expires_at = now() - interval '1 second'"
            " where task_id = $1 and job = $2 and attempt = $3 and status = 'running'",
            self.number,
            number,
            attempt,
        )
        self.model.expire(number, attempt)
        for _ in range(2):
            self.real.run(_monitor(self.real))

    @precondition(lambda self: len(self.known) > 2)
    @rule(worker=workers, often=rarely)
    def replace(self, worker, often):
        if often:
            return
        self._register(worker)
        self.model.replace(worker)

    @rule(fate=fates, often=rarely)
    def cancel(self, fate, often):
        if often:
            return
        self._arrive(("cancel",), fate)

    def _cancel(self):
        self.real.call("tasks.cancel", taskId=self.task)
        self.model.cancel()

    @precondition(lambda self: any(job.status in ("failed", "cancelled") for job in self.model.jobs))
    @rule(fate=fates)
    def retry(self, fate):
        self._arrive(("retry",), fate)

    def _retry(self):
        answer = self.real.call("tasks.retry", taskId=self.task)
        assert (answer if isinstance(answer, str) else "ok") == self.model.retry()

    @rule(which=st.integers(0, 20))
    def a_late_call_arrives(self, which):
        if self.late:
            self._arrive(self.late.pop(which % len(self.late)), "now")

    @invariant()
    def the_tables_are_the_model(self):
        if not hasattr(self, "model"):
            return
        rows = self.real.sql("select * from ado.jobs where task_id = $1 order by job", self.number)
        found = [(row["status"], row["attempt"], row["losses"], row["failures"], row["stop_reason"]) for row in rows]
        assert found == [(job.status, job.attempt, job.losses, job.failures, job.stop) for job in self.model.jobs]
        log = self.real.sql(
            "select seq, type, job, attempt from ado.events where task_id = $1 order by seq", self.number
        )
        assert [(row["type"], row["job"], row["attempt"]) for row in log] == self.model.log
        assert [row["seq"] for row in log] == list(range(1, len(log) + 1))
        assert self.real.sql("select status from ado.tasks where task_id = $1", self.number)[0][0] == self.model.status


def _key(ref):
    return int(ref.job_id.rpartition("/")[2]), ref.attempt


async def _monitor(real):
    from app.control import monitor

    await monitor.step(real.db, AppSettings(dsn="x"))


@pytest.fixture
def real(dsn):
    made = Real(dsn)
    yield made
    made.close()


def _check(real, examples, *, new):
    Protocol.real = real
    run_state_machine_as_test(
        Protocol,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            derandomize=not new,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_whatever_comes_late_twice_or_out_of_order_the_protocol_keeps_its_contract(real):
    _check(real, 40, new=False)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_the_protocol_keeps_its_contract_in_a_thousand_stories(real):
    _check(real, 1000, new=True)
