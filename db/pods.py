"""Typed functions over ``sql/queries/pods.sql``: what spawners decide about pods, and what becomes of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from db.jobs import Finish, columns
from db.model import Key, Resources
from db.spawning import Scale, Supply, held, lose, scales, supplies
from db.sync_database import Connection, Pool, rows
from db.tokens import NewToken


@dataclass(frozen=True, slots=True)
class PodRow:
    """A pod that was decided and is not known to be gone, with its worker and its job."""

    name: str
    key: Key | None
    """The job it is for; None: a warm pod that has claimed nothing yet."""
    capabilities: frozenset[str]
    state: str
    uid: str | None
    reason: str | None
    reason_seconds: float
    age_seconds: float
    """For how long it has been starting: since it was placed, or since what kept it waiting was over."""
    claimed: bool
    worker_state: str | None
    idle_seconds: float
    job_status: str | None
    holds: bool
    """Whether the job's last attempt is its worker's."""
    message: str | None = None
    told: str | None = None
    """The reason that the job's log has been told last."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A queued job that has no pod."""

    key: Key
    needs: frozenset[str]
    resources: Resources


@dataclass(frozen=True, slots=True)
class PodSituation:
    """Demand and supply at one moment."""

    pods: tuple[PodRow, ...]
    waiting: tuple[Waiting, ...]
    workers: tuple[Supply, ...]
    scales: tuple[Scale, ...]


@dataclass(frozen=True, slots=True)
class PodTask:
    """A pod to be made (``wanted``) or removed (``ending``)."""

    name: str
    decision: int
    key: Key | None
    capabilities: frozenset[str]
    offered: tuple[str, ...]
    resources: Resources
    wish: Mapping[str, Any]
    """What the task asked of its pods: image, nodeSelector."""
    state: str
    uid: str | None
    reason: str | None
    message: str | None = None
    reason_seconds: float = 0.0
    told: str | None = None
    tries: int = 1
    """How often it has been taken since it was last in order."""
    avoid: tuple[str, ...] = ()
    """Nodes on which a pod was lost a moment ago."""


@dataclass(frozen=True, slots=True)
class Told:
    """What is said of a pod: in its row, and in the log of its job."""

    reason: str
    message: str
    hint: str
    node: str = ""
    once: bool = False
    """Whether one pod of a task speaks for all of them."""


@dataclass(frozen=True, slots=True)
class PodWish:
    """A decision: a pod of this size for a job, or a warm one."""

    key: Key | None
    resources: Resources


class PodDatabase:
    """Every public method is one transaction. Raises DatabaseUnavailable."""

    def __init__(self, pool: Pool, namespace: str) -> None:
        self._pool = pool
        self._namespace = namespace

    def installation(self) -> str:
        """Return the label of everything this installation makes."""
        with self._pool.transaction() as connection:
            return str(rows(connection, "installation")[0]["installation"])

    def open_pods(self) -> list[PodRow]:
        """Return the pods that are not known to be gone, by decision."""
        with self._pool.transaction() as connection:
            return _open_pods(connection, self._namespace)

    @contextmanager
    def deciding(self) -> Iterator[PodDecider | None]:
        """Hold the namespace's decision lock for the block; None when another spawner holds it."""
        with self._pool.transaction() as connection:
            locked = rows(connection, "try_spawner_lock", backend=f"kubernetes.{self._namespace}")[0]["locked"]
            yield PodDecider(connection, self._namespace) if locked else None

    def take(self, limit: int, retry_seconds: float, busy: Iterable[str] = ()) -> list[PodTask]:
        """Take pods to make or remove, but for busy ones; after ``retry_seconds`` other spawners may take them."""
        with self._pool.transaction() as connection:
            taken = rows(
                connection,
                "take_pods",
                namespace=self._namespace,
                row_limit=limit,
                retry_seconds=retry_seconds,
                busy=list(busy),
            )
        return [_task(row) for row in sorted(taken, key=lambda row: row["decision"])]

    def create_token(self, token: NewToken) -> None:
        """Store a token."""
        with self._pool.transaction() as connection:
            rows(connection, "create_token", **token.values, actor=None)

    def placed(self, name: str, uid: str) -> bool:
        """Record that pod and Secret exist; False when the pod was given up meanwhile."""
        with self._pool.transaction() as connection:
            return bool(rows(connection, "place_pod", name=name, uid=uid))

    def note(self, name: str, told: Told) -> None:
        """Record what is wrong with a pod, for whoever asks; its job's log does not change."""
        with self._pool.transaction() as connection:
            rows(connection, "note_pod", name=name, reason=told.reason, message=told.message[:2000], node=told.node)

    def tell(self, name: str, told: Told) -> bool:
        """Write into the job's log what is wrong with its pod; False when that stands there already."""
        with self._pool.transaction() as connection:
            if told.once:
                rows(connection, "lock_telling", name=name)
            return _tell(connection, name, told)

    def soothe(self, name: str) -> None:
        """Forget what was wrong."""
        with self._pool.transaction() as connection:
            rows(connection, "soothe_pod", name=name)

    def close(self, name: str) -> None:
        """Let a pod be removed that nobody needs."""
        with self._pool.transaction() as connection:
            rows(connection, "close_pod", name=name)

    def over(self, name: str) -> None:
        """Record that a pod ended with nothing wrong; what its worker still held is lost."""
        self._bury(name, None, for_good=False, waits=False)

    def lost(self, name: str, told: Told, *, waits: bool) -> None:
        """Record a pod's death: what it ran is queued again; so is (``waits``) the job that waited for it."""
        self._bury(name, told, for_good=False, waits=waits)

    def failed(self, name: str, told: Told, exit_code: int | None) -> None:
        """Record a pod's death that is the job's own failure."""
        self._bury(name, told, for_good=True, waits=True, exit_code=exit_code)

    def _bury(self, name: str, told: Told | None, *, for_good: bool, waits: bool, exit_code: int | None = None) -> None:
        with self._pool.transaction() as connection:
            rows(connection, "worker_gone", worker_id=name)
            if told is not None:
                _tell(connection, name, told)
            keys = held(connection, name)
            reason = told.reason if told else "lost"
            if for_good and told is not None:
                ended = [task for key in keys for task in _fail(connection, name, key, told, exit_code)]
            else:
                ended = lose(connection, keys, reason)
            if waits and told is not None and not keys:
                ended += _fail_waiting(connection, name, told, for_good=for_good)
            rows(connection, "close_pod", name=name)
        for task_id in sorted(set(ended)):
            with self._pool.transaction() as connection:
                rows(connection, "stop_siblings", task_id=task_id)
                rows(connection, "settle_tasks", task_ids=[task_id])

    def postpone(self, name: str, seconds: float) -> None:
        """Let a pod that was taken be anybody's again after so many seconds."""
        with self._pool.transaction() as connection:
            rows(connection, "postpone_pod", name=name, seconds=seconds)

    def ended(self, name: str) -> None:
        """Record that a pod is gone, which makes room for one that waits for the quota."""
        with self._pool.transaction() as connection:
            rows(connection, "end_pod", name=name)
            rows(connection, "wake_pod", namespace=self._namespace)


class PodDecider:
    """What may be read and decided while the decision lock is held."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self._connection = connection
        self._namespace = namespace

    def situation(self, offered: frozenset[str], limit: int) -> PodSituation:
        """Read demand, up to ``limit`` jobs that these capabilities serve, and supply."""
        found = rows(self._connection, "podless_jobs", capabilities=sorted(offered), row_limit=limit)
        waiting = tuple(
            Waiting(
                (row["task_id"], row["job"]),
                frozenset(row["needs"]),
                Resources(row["cpu"], row["memory"], row["gpu"]),
            )
            for row in found
        )
        pods = tuple(_open_pods(self._connection, self._namespace))
        return PodSituation(pods, waiting, supplies(self._connection), scales(self._connection))

    def request(self, wishes: Sequence[PodWish], offered: frozenset[str], warm_for: frozenset[str]) -> list[str]:
        """Decide for pods; they are made after the commit. Return their names."""
        made = rows(
            self._connection,
            "request_pods",
            namespace=self._namespace,
            task_ids=[wish.key[0] if wish.key else None for wish in wishes],
            jobs=[wish.key[1] if wish.key else None for wish in wishes],
            cpus=[wish.resources.cpu for wish in wishes],
            memories=[wish.resources.memory for wish in wishes],
            gpus=[wish.resources.gpu for wish in wishes],
            offered=sorted(offered),
            warm_capabilities=sorted(warm_for),
        )
        return [row["name"] for row in made]


def _open_pods(connection: Connection, namespace: str) -> list[PodRow]:
    return [
        PodRow(
            name=row["name"],
            key=_key(row),
            capabilities=frozenset(row["capabilities"]),
            state=row["state"],
            uid=row["uid"],
            reason=row["reason"],
            reason_seconds=row["reason_seconds"] or 0.0,
            age_seconds=row["age_seconds"],
            claimed=row["claimed"],
            worker_state=row["worker_state"],
            idle_seconds=row["idle_seconds"] or 0.0,
            job_status=row["job_status"],
            holds=bool(row["is_holder"]),
            message=row["message"],
            told=row["told"],
        )
        for row in rows(connection, "open_pods", namespace=namespace)
    ]


def _key(row: Mapping[str, Any]) -> Key | None:
    return None if row["task_id"] is None else (row["task_id"], row["job"])


def _task(row: Mapping[str, Any]) -> PodTask:
    return PodTask(
        name=row["name"],
        decision=row["decision"],
        key=_key(row),
        capabilities=frozenset(row["capabilities"]),
        offered=tuple(row["offered"] or ()),
        resources=Resources(row["cpu"] or 0.0, row["memory"] or 0, row["gpu"] or 0.0),
        wish=orjson.loads(row["wish"] or "{}"),
        state=row["state"],
        uid=row["uid"],
        reason=row["reason"],
        message=row["message"],
        reason_seconds=row["reason_seconds"] or 0.0,
        told=row["told"],
        tries=row["tries"],
        avoid=tuple(row["avoid"] or ()),
    )


def _tell(connection: Connection, name: str, told: Told) -> bool:
    return bool(
        rows(
            connection,
            "tell_pod",
            name=name,
            reason=told.reason,
            message=told.message[:2000],
            hint=told.hint,
            node=told.node,
            once=told.once,
        )
    )


def _fail(connection: Connection, name: str, key: tuple[int, int, int], told: Told, exit_code: int | None) -> list[int]:
    task_id, job, attempt = key
    guards = rows(connection, "attempt_credential", task_id=task_id, job=job, attempt=attempt)
    credential = guards[0]["credential_digest"] if guards else None
    message = told.message[:2000]
    report = Finish(*key, name, None, "failed", exit_code, told.reason, message, None, None, credential)
    finished = rows(connection, "finish_jobs", **columns([report]))
    return [row["task_id"] for row in finished if row["status"] != "queued"]


def _fail_waiting(connection: Connection, name: str, told: Told, *, for_good: bool) -> list[int]:
    failed = rows(
        connection,
        "fail_waiting_job",
        name=name,
        for_good=for_good,
        reason=told.reason,
        message=told.message[:2000],
    )
    return [row["task_id"] for row in failed]
