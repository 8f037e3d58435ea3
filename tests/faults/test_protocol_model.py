"""The worker protocol against a model of its contract: calls that are late, doubled and out of order.

The model is pure and small; the machine carries every call out on the real procedures and statements and compares the
answer, the jobs and the log after each step. A call that is kept back arrives at any later moment, as a network may
have it. Hypothesis looks for the shortest history in which they differ.
"""

from collections import Counter

import pytest
from hypothesis import HealthCheck, settings, stateful
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.contract import ATTEMPTS, JOBS, RETRIES, SLOTS, WORKERS, Model
from support.procedures import Real

from app.loops import monitor
from app.settings import AppSettings
from db import jobs
from db.workers import registered

SETTINGS = AppSettings(dsn="x", attempts=ATTEMPTS)


class Protocol(RuleBasedStateMachine):
    """Calls of two workers, a person and the monitor on one task."""

    real = None
    examples = Counter()

    @initialize()
    def begin(self):
        Protocol.examples["all"] += 1
        self.mark = f"c{Protocol.examples['all']}"
        self.real.sql("update ado.control set attempts = $1", ATTEMPTS)
        self.model = Model()
        made = self.real.call(
            "tasks.create", prompt="x", agent="shell", workers=JOBS, retries=RETRIES, requires=[self.mark]
        )
        self.task = made.task_id
        self.number = int(self.task.removeprefix("task-"))
        self.sessions = {worker: [] for worker in WORKERS}
        self.leases = {}
        for worker in WORKERS:
            self._register(worker)
        self.late = []
        self.known = []
        self._claim("a", 1, 2)

    def _name(self, worker):
        return f"{self.mark}-{worker}"

    def _register(self, worker):
        answer = self.real.call(
            "workers.register",
            workerId=self._name(worker),
            capabilities=["shell", self.mark],
            slots=SLOTS,
            instance=str(len(self.sessions[worker])),
        )
        self.sessions[worker].append(answer.session)

    def _process(self, worker, age):
        """Return the number of a worker's process: the newest one or, by age, one that it replaced."""
        return max(1, len(self.sessions[worker]) - age)

    def _session(self, worker, process):
        return {"workerId": self._name(worker), "session": self.sessions[worker][process - 1]}

    def _speaker(self, job, other):
        """Return which worker calls for a job: its holder, or the other one."""
        holder = self.model.jobs[job].worker or "a"
        return next(worker for worker in WORKERS if worker != holder) if other else holder

    def _fence(self, worker, key):
        return {"workerId": self._name(worker), "jobId": f"{self.task}/{key[0]}", "attempt": key[1]}

    def _key(self, pick):
        """Choose an attempt that a worker was given; running ones are chosen most often."""
        running = self.model.running()
        keys = running + [key for key in reversed(self.known) if key not in running]
        return keys[pick % len(keys)]

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
    others = st.sampled_from([False, False, False, True])
    ages = st.sampled_from([0, 0, 1])
    picks = st.sampled_from([0, 0, 0, 1, 1, 2, 3, 4])
    outcomes = st.sampled_from(["succeeded", "failed", "cancelled", "released"])

    @rule(worker=workers, age=ages, limit=st.integers(1, 3), fate=fates)
    def claim(self, worker, age, limit, fate):
        self._arrive(("claim", worker, self._process(worker, age), limit), fate)

    def _claim(self, worker, process, limit):
        self._skip_times()
        answer = self.real.call("workers.claim", **self._session(worker, process), limit=limit)
        taken = self.model.claim(worker, process, limit)
        if taken == "worker_replaced":
            assert answer == taken
            return []
        self._given(answer.jobs, taken)
        return taken

    @rule(worker=workers, limit=st.integers(1, 3), overtaken=st.sampled_from(["by a claim", "by a process", "", ""]))
    def claim_slowly(self, worker, limit, overtaken):
        """A claim looks at its worker now and takes jobs later; it may be overtaken in between."""
        claims = self.real.run(registered(self.real.db, self._name(worker))).claims
        assert claims == self.model.claims[worker]
        process = self._process(worker, 0)
        if overtaken == "by a claim":
            for key in self._claim(worker, process, limit):
                self._finish(worker, key, None, "released")
        elif overtaken == "by a process":
            self._replace(worker)
        self._arrive(("claim_as_seen", worker, process, claims, limit), "now" if overtaken else "late")

    def _claim_as_seen(self, worker, process, claims, limit):
        self._skip_times()
        session = self.sessions[worker][process - 1]
        taken = self.real.run(
            jobs.claim(
                self.real.db,
                worker_id=self._name(worker),
                session=session,
                claims=claims,
                limit=limit,
                suspect_seconds=SETTINGS.suspect_seconds,
                lease_seconds=SETTINGS.lease_seconds,
            )
        )
        self._given(taken, self.model.claim_as_seen(worker, process, claims, limit))

    def _skip_times(self):
        # The model has no clock: no job waits for its next attempt, and no worker gets none after 15 s of silence.
        self.real.sql("update ado.jobs set run_after = now() where task_id = $1 and run_after > now()", self.number)
        self.real.sql("update ado.workers set last_heartbeat_at = now() where worker_id like $1", f"{self.mark}-%")

    def _given(self, found, taken):
        assert [(job.job, job.attempt) for job in found or []] == taken
        self.known += taken

    @precondition(lambda self: self.model.running())
    @rule(pick=st.integers(0, JOBS), events=st.integers(0, 2))
    def a_worker_is_given_anew_what_it_lost(self, pick, events):
        running = self.model.running()
        key = running[pick % len(running)]
        worker = self.model.jobs[key[0]].worker
        if events:
            self._append(worker, key, self.model.jobs[key[0]].batch + 1, events)
        self._expire(key, "now")
        self._claim(worker, self._process(worker, 0), SLOTS)

    @precondition(lambda self: self._earlier())
    @rule(
        pick=st.integers(0, 9),
        what=st.sampled_from(["append", "append", "finish", "heartbeat", "end"]),
        outcome=outcomes,
        events=st.integers(0, 2),
    )
    def an_earlier_attempt_speaks(self, pick, what, outcome, events):
        """Its words would fit the attempt that the same worker holds now, but for the number."""
        earlier = self._earlier()
        key = earlier[pick % len(earlier)]
        job = self.model.jobs[key[0]]
        if what == "append":
            self._append(job.worker, key, job.batch + 1, events)
        elif what == "finish":
            self._finish(job.worker, key, job.batch, outcome)
        elif what == "heartbeat":
            self._heartbeat(job.worker, self._process(job.worker, 0), {key})
        else:
            self._end(key)

    def _earlier(self):
        """Return the attempts before those that run."""
        return [(number, attempt - 1) for number, attempt in self.model.running() if attempt > 1]

    @rule(pick=picks, other=others, steps=st.sampled_from([(1,), (1, 1), (1, 0), (2, 1), (0,)]), fate=fates)
    def append(self, pick, other, steps, fate):
        """Batches that come next, that came before or that leave one out."""
        key = self._key(pick)
        for events, step in enumerate(steps):
            batch = max(1, self.model.jobs[key[0]].batch + step)
            self._arrive(("append", self._speaker(key[0], other), key, batch, events), fate)

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

    @rule(pick=picks, other=others, ahead=st.sampled_from([(None,), (0,), (1,), (1, 0)]), outcome=outcomes, fate=fates)
    def finish(self, pick, other, ahead, outcome, fate):
        """An end after the batches there are, or after one more that is still to come."""
        key = self._key(pick)
        for more in ahead:
            last = None if more is None else self.model.jobs[key[0]].batch + more
            self._arrive(("finish", self._speaker(key[0], other), key, last, outcome), fate)

    def _finish(self, worker, key, last, outcome):
        answer = self.real.call(
            "workers.finish",
            **self._fence(worker, key),
            outcome=outcome,
            **({} if last is None else {"lastBatch": last}),
        )
        found = answer if isinstance(answer, str) else "ok"
        assert found == self.model.finish(worker, *key, last, outcome)

    @rule(
        pick=picks,
        other=others,
        age=ages,
        without=st.sampled_from([(0,), (1,), (1, 1), (1, 0, 1), (SLOTS, SLOTS), (SLOTS, 0, SLOTS)]),
        more=st.sets(picks, max_size=2),
        fate=fates,
    )
    def heartbeats(self, pick, other, age, without, more, fate):
        """Each lists what its worker holds, less some of it; the last one also what it may not hold."""
        worker = self._speaker(self._key(pick)[0], other)
        for turn, count in enumerate(without, 1):
            listed = self.model.running(worker)[count:]
            listed += [self._key(number) for number in more] if turn == len(without) else []
            self._arrive(("heartbeat", worker, self._process(worker, age), set(listed)), fate)

    def _heartbeat(self, worker, process, listed):
        answer = self.real.call(
            "workers.heartbeat",
            **self._session(worker, process),
            jobs=[{"jobId": f"{self.task}/{job}", "attempt": attempt} for job, attempt in listed],
        )
        told = self.model.heartbeat(worker, process, listed)
        if told == "worker_replaced":
            assert answer == told
        else:
            assert ({_key(ref) for ref in answer.lost}, {_key(ref) for ref in answer.cancel}) == told

    @rule(
        kind=st.sampled_from(["expire", "save", "end", "replace", "replace", "cancel", ""]),
        worker=workers,
        pick=picks,
        fate=fates,
    )
    def trouble(self, kind, worker, pick, fate):
        if kind == "expire":
            self._expire(self._key(pick), fate)
        elif kind == "save":
            self._save(*self._key(pick))
        elif kind == "end":
            self._end(self._key(pick))
        elif kind == "replace" and len(self.known) > 2:
            self._replace(worker)
        elif kind == "cancel":
            self._arrive(("cancel",), fate)

    def _expire(self, key, fate):
        """A lease runs out, and two monitors see it, or one that is slow to act on it."""
        found = self._run_out(*key)
        if fate == "late":
            self._arrive(("end_overdue", found), fate)
        else:
            for _ in range(2):
                self.real.run(monitor.step(self.real.db, SETTINGS))
            self.model.end_overdue(found)

    def _save(self, number, attempt):
        """A heartbeat comes between what a monitor finds and what it does."""
        found, worker = self._run_out(number, attempt), self._speaker(number, False)
        self._heartbeat(worker, self._process(worker, 0), {(number, attempt)})
        self._end_overdue(found)

    def _run_out(self, number, attempt):
        """Let a lease run out; return what a monitor finds."""
        # Fifteen seconds without a tick are an outage of the control plane, and the next tick moves all leases. On a
        # slow machine the examples since the last tick may take as long. test_outage tests outages.
        self.real.sql("update ado.control set last_tick_at = now()")
        self.real.run(monitor.step(self.real.db, SETTINGS))
        self.model.end_overdue(self.model.overdue())
        overdue = "update ado.jobs set lease_expires_at = now() - interval '1 hour'"
        fence = "where task_id = $1 and job = $2 and attempt = $3 and status = 'running'"
        self.real.sql(f"{overdue} {fence}", self.number, number, attempt)
        self.leases.clear()
        self.model.expire(number, attempt)
        found = self.real.run(jobs.overdue(self.real.db, SETTINGS.suspect_seconds))
        assert [key[1:] for key in found if key[0] == self.number] == self.model.overdue()
        return self.model.overdue()

    def _end_overdue(self, found):
        self._end_attempts(found, overdue_only=True)
        self.model.end_overdue(found)

    def _end(self, key):
        """A replica ends an attempt that it may have read long ago."""
        self._end_attempts([key], overdue_only=False)
        self.model.end(*key)

    def _end_attempts(self, found, *, overdue_only):
        keys = [(self.number, *key) for key in found]
        ended = self.real.run(
            jobs.end_attempts(self.real.db, keys, reason="lost", loss=True, overdue_only=overdue_only)
        )
        self.real.run(monitor.settle_ended(self.real.db, ended, "lost"))

    def _replace(self, worker):
        self._register(worker)
        self.model.replace(worker)

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

    def _leases_move_when_they_are_renewed(self, rows):
        for job, row in zip(self.model.jobs, rows, strict=True):
            before = self.leases.get(row["job"])
            if before and row["status"] == "running":
                assert (row["lease_expires_at"] != before[1]) == (job.renewals != before[0])
            self.leases[row["job"]] = (job.renewals, row["lease_expires_at"])

    @invariant()
    def the_tables_are_the_model(self):
        if not hasattr(self, "model"):
            return
        rows = self.real.sql("select * from ado.jobs where task_id = $1 order by job", self.number)
        kept = [dict(row) | {"stop": row["stop_reason"]} for row in rows]
        counted = ("status", "attempt", "losses", "failures", "interruptions", "stop")
        found = [tuple(row[name] for name in counted) for row in kept]
        assert found == [tuple(getattr(job, name) for name in counted) for job in self.model.jobs]
        log = self.real.sql("select * from ado.events where task_id = $1 order by seq", self.number)
        assert [(row["type"], row["job"], row["attempt"]) for row in log] == self.model.log
        assert [row["seq"] for row in log] == list(range(1, len(log) + 1))
        self._leases_move_when_they_are_renewed(rows)
        assert self.real.sql("select status from ado.tasks where task_id = $1", self.number)[0][0] == self.model.status


def _key(ref):
    return int(ref.job_id.rpartition("/")[2]), ref.attempt


@pytest.fixture
def real(dsn):
    made = Real(dsn)
    yield made
    made.close()


def _check(real, examples, *, new):
    Protocol.real = real
    stateful.run_state_machine_as_test(
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


def test_the_protocol_holds_under_late_repeated_and_reordered_messages(real):
    _check(real, 60, new=False)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_the_protocol_holds_in_a_thousand_random_histories(real):
    _check(real, 1000, new=True)
