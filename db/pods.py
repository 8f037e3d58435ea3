"""Typed functions over ``sql/queries/pods.sql``: what spawners decide about pods, and what becomes of the pods."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from db.autoscale import AutoscaleRange, SurplusNote
from db.connect import SyncConnection, run
from db.jobs import Finish, columns
from db.model import AttemptKey, Demand, Key, ResourceAmounts, parameters_of, record_of
from db.spawning import (
    FleetWorker,
    ScaleRow,
    count_limit,
    fleet_workers,
    held,
    lock_decisions,
    note_surplus,
    requeue_lost,
    scales,
)
from db.sync_database import SyncPool
from db.tokens import NewToken

_MESSAGE_CHARS = 2000


@dataclass(frozen=True, slots=True)
class PodRow:
    """A pod that was decided and is not known to be gone, with its worker and its job."""

    name: str
    key: Key | None
    """Its job; None: a warm pod that has claimed nothing yet."""
    capabilities: frozenset[str]
    state: str
    uid: str | None
    reason: str | None
    reason_seconds: float
    age_seconds: float
    """For how long it has been starting: since it was placed, or since its last problem was cleared."""
    claimed: bool
    worker_state: str | None
    idle_seconds: float
    job_status: str | None
    holds: bool
    """Whether its worker has the job's last attempt."""
    message: str | None = None
    logged_reason: str | None = None
    """The last reason that was written to the job's log."""
    waits_for_agent: bool = False
    """Whether its job waits because the agent fails again and again, and may not try it now."""


@dataclass(frozen=True, slots=True)
class PodlessJob:
    """A queued job that has no pod."""

    key: Key
    demand: Demand


@dataclass(frozen=True, slots=True)
class PodSnapshot:
    """Demand and supply at one moment."""

    pods: tuple[PodRow, ...]
    waiting: tuple[PodlessJob, ...]
    workers: tuple[FleetWorker, ...]
    scales: tuple[ScaleRow, ...]
    ranges: tuple[AutoscaleRange, ...] = ()
    demands: tuple[Demand, ...] = ()
    """All that waits, with or without a pod; only while there are ranges."""


@dataclass(frozen=True, slots=True)
class PodAction:
    """A pod to create (state ``wanted``) or to remove (state ``ending``)."""

    name: str
    decision: int
    key: Key | None
    capabilities: frozenset[str]
    offered: tuple[str, ...]
    resources: ResourceAmounts
    overrides: Mapping[str, Any]
    """What the task sets for its pods: image, nodeSelector."""
    state: str
    uid: str | None
    reason: str | None
    message: str | None = None
    reason_seconds: float = 0.0
    logged_reason: str | None = None
    tries: int = 1
    """How often a spawner has taken it since it last succeeded."""
    avoid: tuple[str, ...] = ()
    """Nodes on which a pod was lost in the last two minutes."""


@dataclass(frozen=True, slots=True)
class PodProblem:
    """What is wrong with a pod, as its row and its job's log say it."""

    reason: str
    message: str
    hint: str
    node: str = ""
    once: bool = False
    """Whether the log has it once for all pods of a task."""


@dataclass(frozen=True, slots=True)
class PodRequest:
    """A decision: a pod of this size for a job, or a warm one."""

    key: Key | None
    resources: ResourceAmounts


class PodDatabase:
    """The statements of a spawner of pods. Every public method raises DatabaseUnavailable."""

    def __init__(self, pool: SyncPool, namespace: str) -> None:
        self._pool = pool
        self._namespace = namespace

    def installation(self) -> str:
        """Return the label of everything this installation creates in a cluster."""
        return str(self._pool.run("installation")[0]["installation"])

    def open_pods(self) -> list[PodRow]:
        """Return the pods that are not known to be gone, by decision."""
        with self._pool.transaction() as connection:
            return _open_pods(connection, self._namespace)

    @contextmanager
    def deciding(self) -> Iterator[PodDecider | None]:
        """Hold the decision locks for the block; None when another spawner holds one."""
        with self._pool.transaction() as connection:
            ranges = lock_decisions(connection, f"kubernetes.{self._namespace}")
            yield None if ranges is None else PodDecider(connection, self._namespace, ranges)

    def take(self, limit: int, retry_seconds: float, busy: Iterable[str] = ()) -> list[PodAction]:
        """Take pods to create or remove, except busy ones; after ``retry_seconds`` other spawners may take them."""
        rows = self._pool.run(
            "take_pods", namespace=self._namespace, row_limit=limit, retry_seconds=retry_seconds, busy=list(busy)
        )
        return [_action(row) for row in sorted(rows, key=lambda row: row["decision"])]

    def create_token(self, token: NewToken) -> None:
        """Store a token."""
        self._pool.run("create_token", **token.values, actor=None)

    def placed(self, name: str, uid: str) -> bool:
        """Record that pod and Secret exist; False when the pod was given up meanwhile."""
        return bool(self._pool.run("place_pod", name=name, uid=uid))

    def record_problem(self, name: str, problem: PodProblem) -> None:
        """Record what is wrong with a pod in its row; its job's log does not change."""
        message = problem.message[:_MESSAGE_CHARS]
        self._pool.run("record_pod_problem", name=name, reason=problem.reason, message=message, node=problem.node)

    def log_problem(self, name: str, problem: PodProblem) -> bool:
        """Write what is wrong with a pod to its row and its job's log; False if the log has it already."""
        with self._pool.transaction() as connection:
            if problem.once:
                run(connection, "lock_pod_problems", name=name)
            return _log_problem(connection, name, problem)

    def clear_problem(self, name: str) -> None:
        """Record that nothing is wrong with a pod any more."""
        self._pool.run("clear_pod_problem", name=name)

    def close(self, name: str, *, unclaimed: bool = False) -> None:
        """Have a pod removed that nobody needs; with ``unclaimed`` unless it has claimed a job meanwhile."""
        self._pool.run("close_pod", name=name, unclaimed=unclaimed)

    def completed(self, name: str) -> None:
        """Record that a pod ended with nothing wrong; its worker loses the jobs that it still held."""
        with self._closing(name, None) as (connection, attempts, ended):
            ended.extend(requeue_lost(connection, attempts, "lost"))

    def lost(self, name: str, problem: PodProblem, *, count_unclaimed: bool) -> None:
        """Record that a pod died: its running job is queued again.

        With ``count_unclaimed`` the job that waited for the pod has lost a worker as well.
        """
        with self._closing(name, problem) as (connection, attempts, ended):
            ended.extend(requeue_lost(connection, attempts, problem.reason))
            if count_unclaimed and not attempts:
                ended.extend(_fail_waiting(connection, name, problem, for_good=False))

    def failed(self, name: str, problem: PodProblem, exit_code: int | None) -> None:
        """Record that a pod died by its job's own fault: the job has failed, whether it ran or waited for the pod."""
        with self._closing(name, problem) as (connection, attempts, ended):
            for key in attempts:
                ended.extend(_fail(connection, name, key, problem, exit_code))
            if not attempts:
                ended.extend(_fail_waiting(connection, name, problem, for_good=True))

    @contextmanager
    def _closing(
        self, name: str, problem: PodProblem | None
    ) -> Iterator[tuple[SyncConnection, list[AttemptKey], list[int]]]:
        """Close a pod around the block that ends the attempts of its worker.

        Yields the connection, the attempts, and a list; the block adds to it the tasks whose jobs ended. They are
        settled in transactions of their own, because one that locks several tasks could deadlock.
        """
        ended: list[int] = []
        with self._pool.transaction() as connection:
            run(connection, "worker_gone", worker_id=name)  # first: from here on the worker claims nothing
            if problem is not None:
                _log_problem(connection, name, problem)
            yield connection, held(connection, name), ended
            run(connection, "close_pod", name=name, unclaimed=False)
        for task_id in sorted(set(ended)):
            with self._pool.transaction() as connection:
                run(connection, "stop_siblings", task_id=task_id)
                run(connection, "settle_tasks", task_ids=[task_id])

    def postpone(self, name: str, seconds: float) -> None:
        """Let any spawner take a pod again after so many seconds."""
        self._pool.run("postpone_pod", name=name, seconds=seconds)

    def ended(self, name: str) -> None:
        """Record that a pod is gone, and let the first pod that waits for the quota try again."""
        with self._pool.transaction() as connection:
            run(connection, "end_pod", name=name)
            run(connection, "wake_pod", namespace=self._namespace)


class PodDecider:
    """What may be read and decided while the decision lock is held."""

    def __init__(self, connection: SyncConnection, namespace: str, ranges: tuple[AutoscaleRange, ...]) -> None:
        self._connection = connection
        self._namespace = namespace
        self._ranges = ranges

    def snapshot(self, offered: frozenset[str]) -> PodSnapshot:
        """Read supply, then what waits for these capabilities as the ranges have to know it.

        A job that is claimed in between is then in neither. The other way round it would seem to have no worker left.
        """
        pods = tuple(_open_pods(self._connection, self._namespace))
        workers, kept = fleet_workers(self._connection), scales(self._connection)
        demands: list[dict[str, Any]] = []
        if self._ranges:
            offer = {"offered": sorted(offered), "in_all": None, "cpu": None, "memory": None, "gpu": None}
            demands = run(self._connection, "ready_demands", count_limit=count_limit(self._ranges), **offer)
        return PodSnapshot(pods, (), workers, kept, self._ranges, tuple(map(Demand.of, demands)))

    def waiting(self, offered: frozenset[str], limit: int, closed: Collection[str]) -> tuple[PodlessJob, ...]:
        """Return the best ``limit`` jobs that these capabilities can run, that have no pod and need nothing closed."""
        rows = run(
            self._connection, "podless_jobs", capabilities=sorted(offered), row_limit=limit, closed=sorted(closed)
        )
        return tuple(PodlessJob((row["task_id"], row["job"]), Demand.of({**row, "jobs": 1})) for row in rows)

    def note(self, note: SurplusNote) -> None:
        """Store what a range has to remember."""
        note_surplus(self._connection, note)

    def request(self, requests: Sequence[PodRequest], offered: frozenset[str], warm_for: frozenset[str]) -> list[str]:
        """Record decisions for pods, which are created after the commit; return their names."""
        rows = run(
            self._connection,
            "request_pods",
            namespace=self._namespace,
            task_ids=[request.key[0] if request.key else None for request in requests],
            jobs=[request.key[1] if request.key else None for request in requests],
            cpus=[request.resources.cpu for request in requests],
            memories=[request.resources.memory for request in requests],
            gpus=[request.resources.gpu for request in requests],
            offered=sorted(offered),
            warm_capabilities=sorted(warm_for),
        )
        return [row["name"] for row in rows]


def _open_pods(connection: SyncConnection, namespace: str) -> list[PodRow]:
    return [
        record_of(
            PodRow,
            row,
            key=_key(row),
            capabilities=frozenset(row["capabilities"]),
            reason_seconds=row["reason_seconds"] or 0.0,
            idle_seconds=row["idle_seconds"] or 0.0,
            holds=bool(row["is_holder"]),
            logged_reason=row["told"],
        )
        for row in run(connection, "open_pods", namespace=namespace)
    ]


def _key(row: Mapping[str, Any]) -> Key | None:
    return None if row["task_id"] is None else (row["task_id"], row["job"])


def _action(row: Mapping[str, Any]) -> PodAction:
    return record_of(
        PodAction,
        row,
        key=_key(row),
        capabilities=frozenset(row["capabilities"]),
        offered=tuple(row["offered"] or ()),
        resources=ResourceAmounts(row["cpu"] or 0.0, row["memory"] or 0, row["gpu"] or 0.0),
        overrides=orjson.loads(row["overrides"] or "{}"),
        reason_seconds=row["reason_seconds"] or 0.0,
        logged_reason=row["told"],
        avoid=tuple(row["avoid"] or ()),
    )


def _log_problem(connection: SyncConnection, name: str, problem: PodProblem) -> bool:
    values = parameters_of(problem, name=name, message=problem.message[:_MESSAGE_CHARS])
    return bool(run(connection, "log_pod_problem", **values))


def _fail(
    connection: SyncConnection, name: str, key: AttemptKey, problem: PodProblem, exit_code: int | None
) -> list[int]:
    task_id, job, attempt = key
    guards = run(connection, "attempt_credential", task_id=task_id, job=job, attempt=attempt)
    credential = guards[0]["credential_digest"] if guards else None
    report = Finish(
        task_id=task_id,
        job=job,
        attempt=attempt,
        worker_id=name,
        outcome="failed",
        exit_code=exit_code,
        reason=problem.reason,
        message=problem.message[:_MESSAGE_CHARS],
        credential=credential,
    )
    rows = run(connection, "finish_jobs", **columns([report]))
    return [row["task_id"] for row in rows if row["status"] != "queued"]


def _fail_waiting(connection: SyncConnection, name: str, problem: PodProblem, *, for_good: bool) -> list[int]:
    message = problem.message[:_MESSAGE_CHARS]
    rows = run(connection, "fail_waiting_job", name=name, for_good=for_good, reason=problem.reason, message=message)
    return [row["task_id"] for row in rows]
