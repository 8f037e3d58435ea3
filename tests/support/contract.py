"""The contract of the worker protocol as a small pure model: one task, its jobs, and what each call is answered."""

from collections import Counter
from dataclasses import dataclass, field

JOBS, RETRIES, SLOTS, LOSSES, ATTEMPTS = 3, 1, 2, 3, 4
WORKERS = ("a", "b")
OVER = ("succeeded", "failed", "cancelled")


@dataclass
class Job:
    """One job as the contract has it."""

    status: str = "queued"
    attempt: int = 0
    worker: str | None = None
    batch: int = 0
    stop: str | None = None
    missed: int = 0
    renewals: int = 0
    """How often its lease was given or renewed."""
    overdue: bool = False
    losses: int = 0
    failures: int = 0
    interruptions: int = 0
    """Attempts that ended without a result of the agent."""
    closed: int = 0
    """The last attempt whose own finish was accepted."""


@dataclass
class Model:
    """One task; every method returns what the caller is answered: OK, or the reason of the refusal."""

    jobs: list = field(default_factory=lambda: [Job() for _ in range(JOBS)])
    log: list = field(default_factory=lambda: [("created", None, None)])
    status: str = "queued"
    cancelled: bool = False
    processes: Counter = field(default_factory=lambda: Counter(WORKERS))
    """worker → the number of its process; only the newest one is heard."""
    claims: Counter = field(default_factory=Counter)
    """worker → how often it has claimed: what a claim saw of it is out of date after the next one."""

    def _write(self, kind, job=None):
        self.log.append((kind, job, self.jobs[job].attempt if job is not None else None))

    def _settle(self):
        states = [job.status for job in self.jobs]
        if self.status in OVER or not all(state in OVER for state in states):
            return
        self.status = next((s for s in ("failed", "cancelled") if s in states), "succeeded")
        self._write(self.status)

    def claim(self, worker, process, limit):
        if process != self.processes[worker]:
            return "worker_replaced"
        return self.claim_as_seen(worker, process, self.claims[worker], limit)

    def claim_as_seen(self, worker, process, claims, limit):
        """A claim that looked at its worker some time ago."""
        if (process, claims) != (self.processes[worker], self.claims[worker]):
            return []
        self.claims[worker] += 1
        free = SLOTS - len(self.running(worker))
        taken = [number for number, job in enumerate(self.jobs) if job.status == "queued"][: max(0, min(limit, free))]
        for number in taken:
            job = self.jobs[number]
            job.status, job.worker, job.batch, job.missed = "running", worker, 0, 0
            job.attempt += 1
            self._renew(job)
            self._write("started", number)
        if taken and self.status == "queued":
            self.status = "running"
        return [(number, self.jobs[number].attempt) for number in taken]

    @staticmethod
    def _renew(job):
        job.renewals += 1
        job.overdue = False

    def held(self, worker, number, attempt):
        """Whether a worker holds an attempt."""
        job = self.jobs[number]
        return job.status == "running" and (job.worker, job.attempt) == (worker, attempt)

    def running(self, worker=None):
        """Return the attempts that run, with a worker where one is named."""
        found = [(n, job) for n, job in enumerate(self.jobs) if job.status == "running"]
        return [(n, job.attempt) for n, job in found if worker in (job.worker, None)]

    def append(self, worker, number, attempt, batch, events):
        job = self.jobs[number]
        if not self.held(worker, number, attempt):
            return "lease_lost"
        if batch > job.batch + 1:
            return "batch_gap"
        if batch == job.batch + 1:
            job.batch = batch
            self._renew(job)
            self.log += [("output", number, attempt)] * events
        return "ok"

    def finish(self, worker, number, attempt, last, outcome):
        job = self.jobs[number]
        if not self.held(worker, number, attempt):
            return "ok" if job.closed == attempt and job.worker in (worker, None) else "lease_lost"
        if last is not None and last > job.batch:
            return "batch_gap"
        job.interruptions += outcome == "released"
        if job.stop:
            status = "cancelled"
        elif outcome == "released" and job.interruptions >= ATTEMPTS:
            status = "failed"
        elif outcome == "released" or (outcome == "failed" and job.failures < RETRIES):
            status = "queued"
        else:
            status = outcome
        if status == "queued" and outcome == "failed":
            job.failures += 1
        job.status, job.closed = status, attempt
        self._write("finished" if status != "queued" else "released" if outcome == "released" else "requeued", number)
        self._settle()
        return "ok"

    def _end(self, numbers, loss):
        for number in numbers:
            job = self.jobs[number]
            job.losses += loss
            job.interruptions += 1
            given_up = job.losses >= LOSSES or job.interruptions >= ATTEMPTS
            job.status = "cancelled" if job.stop else "failed" if given_up else "queued"
            self._write("requeued" if job.status == "queued" else "finished", number)
        self._settle()

    def expire(self, number, attempt):
        """A lease runs out; no replica has seen it yet."""
        job = self.jobs[number]
        if job.status == "running" and job.attempt == attempt:
            job.overdue = True

    def overdue(self):
        """Return the attempts that a monitor finds."""
        return [key for key in self.running() if self.jobs[key[0]].overdue]

    def end_overdue(self, found):
        """A monitor ends the attempts that it read, now or earlier, if they are still overdue."""
        self._end([key[0] for key in self.overdue() if key in found], 1)

    def end(self, number, attempt):
        """A replica ends an attempt that it read earlier, of a worker that was replaced."""
        if self.jobs[number].status == "running" and self.jobs[number].attempt == attempt:
            self._end([number], 1)

    def heartbeat(self, worker, process, listed):
        if process != self.processes[worker]:
            return "worker_replaced"
        mine = [number for number, _ in self.running(worker)]
        kept = [n for n in mine if (n, self.jobs[n].attempt) in listed]
        answer = (
            {key for key in listed if not self.held(worker, *key)},
            {(n, self.jobs[n].attempt) for n in kept if self.jobs[n].stop},
        )
        for number in kept:
            self._renew(self.jobs[number])
        for number in mine:
            self.jobs[number].missed = 0 if number in kept else self.jobs[number].missed + 1
        self._end([n for n in mine if self.jobs[n].missed >= 2], 0)
        return answer

    def replace(self, worker):
        self.processes[worker] += 1
        self._end([number for number, _ in self.running(worker)], 1)

    def cancel(self):
        if self.status in OVER or self.cancelled:
            return
        self.cancelled = True
        self._write("cancel_requested")
        for number, job in enumerate(self.jobs):
            if job.status == "queued":
                job.status = "cancelled"
                kind, _, attempt = "finished", self._write("finished", number), job.attempt
                self.log[-1] = (kind, number, attempt or None)
            elif job.status == "running":
                job.stop = job.stop or "cancelled"
        self._settle()

    def retry(self):
        again = [job for job in self.jobs if job.status in ("failed", "cancelled")]
        if not again or (self.status not in ("failed", "cancelled") and self.cancelled):
            return "nothing_to_retry"
        for job in again:
            job.status, job.worker, job.stop, job.losses, job.failures = "queued", None, None, 0, 0
            job.interruptions = 0
        self.cancelled = False
        self.status = "running" if self.status == "running" else "queued"
        self._write("retried")
        return "ok"
