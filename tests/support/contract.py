"""The contract of the worker protocol as a small pure model: one task, its jobs, and what each call is answered."""

from dataclasses import dataclass, field

JOBS, RETRIES, SLOTS, LOSSES = 3, 1, 2, 3
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
    losses: int = 0
    failures: int = 0
    closed: int = 0
    """The last attempt whose own finish was accepted."""


@dataclass
class Model:
    """One task; every method returns what the caller is answered: OK, or the reason of the refusal."""

    jobs: list = field(default_factory=lambda: [Job() for _ in range(JOBS)])
    log: list = field(default_factory=lambda: [("created", None, None)])
    status: str = "queued"
    cancelled: bool = False

    def _write(self, kind, job=None):
        self.log.append((kind, job, self.jobs[job].attempt if job is not None else None))

    def _settle(self):
        states = [job.status for job in self.jobs]
        if self.status in OVER or not all(state in OVER for state in states):
            return
        self.status = next((s for s in ("failed", "cancelled") if s in states), "succeeded")
        self._write(self.status)

    def claim(self, worker, limit):
        free = SLOTS - sum(job.status == "running" and job.worker == worker for job in self.jobs)
        taken = [number for number, job in enumerate(self.jobs) if job.status == "queued"][: max(0, min(limit, free))]
        for number in taken:
            job = self.jobs[number]
            job.status, job.worker, job.batch, job.missed = "running", worker, 0, 0
            job.attempt += 1
            self._write("started", number)
        if taken and self.status == "queued":
            self.status = "running"
        return [(number, self.jobs[number].attempt) for number in taken]

    def _held(self, worker, number, attempt):
        job = self.jobs[number]
        return job.status == "running" and (job.worker, job.attempt) == (worker, attempt)

    def append(self, worker, number, attempt, batch, events):
        job = self.jobs[number]
        if not self._held(worker, number, attempt):
            return "lease_lost"
        if batch > job.batch + 1:
            return "batch_gap"
        if batch == job.batch + 1:
            job.batch = batch
            self.log += [("output", number, attempt)] * events
        return "ok"

    def finish(self, worker, number, attempt, last, outcome):
        job = self.jobs[number]
        if not self._held(worker, number, attempt):
            return "ok" if job.closed == attempt and job.worker in (worker, None) else "lease_lost"
        if last is not None and last > job.batch:
            return "batch_gap"
        if job.stop:
            status = "cancelled"
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
            job.status = "cancelled" if job.stop else "failed" if job.losses >= LOSSES else "queued"
            self._write("requeued" if job.status == "queued" else "finished", number)
        self._settle()

    def expire(self, number, attempt):
        job = self.jobs[number]
        if job.status == "running" and job.attempt == attempt:
            self._end([number], 1)

    def heartbeat(self, worker, listed):
        mine = [n for n, job in enumerate(self.jobs) if job.status == "running" and job.worker == worker]
        kept = [n for n in mine if (n, self.jobs[n].attempt) in listed]
        answer = (
            {key for key in listed if not self._held(worker, *key)},
            {(n, self.jobs[n].attempt) for n in kept if self.jobs[n].stop},
        )
        for number in mine:
            self.jobs[number].missed = 0 if number in kept else self.jobs[number].missed + 1
        self._end([n for n in mine if self.jobs[n].missed >= 2], 0)
        return answer

    def replace(self, worker):
        self._end([n for n, job in enumerate(self.jobs) if job.status == "running" and job.worker == worker], 1)

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
        self.cancelled = False
        self.status = "running" if self.status == "running" else "queued"
        self._write("retried")
        return "ok"
