"""The spawner of pods: creates a pod for each job that needs one, watches it, and removes it. Any number may run.

States of a pod's row: wanted (decided), placed (pod and Secret exist), ending (to be removed), ended (gone). Whatever
keeps a pod from running is a reason and a message in its row at once; it goes to the job's log only if it lasts.
Authority: the rows. A decision is recorded under the namespace's advisory try-lock. After the commit, whichever spawner
takes the row first acts on it; if that one dies, another takes the row after ``ADO_POD_RETRY_SECONDS``. The pod's name
contains the decision's number, so acting twice creates nothing twice: the cluster refuses the second pod, and its
labels show that it is the first one. The pod is created before its Secret, which it owns: whatever fails between the
two, removing the pod leaves nothing.
Clock: the database's, for everything that times out; the cluster's times are not read. Nothing times out while this
spawner cannot see cluster and database, nor while a pod waits for room.
Hints: the watch. Its reports are compared with the rows, and every statement is fenced by the row's state, so spawners
that see the same death queue the job again only once.
Failures: without the database nothing is decided, and running pods go on. Without the cluster rows wait, and no pod
counts as gone.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from app.spawner.backends import pod_diagnosis
from app.spawner.backends.kubernetes import Cluster, ClusterRefused, ClusterUnreachable, Manifest
from app.spawner.backends.pod_diagnosis import PodDiagnosis, PodTimeouts
from app.spawner.backends.pod_watch import PodWatch
from app.spawner.backends.podspec import PodFrame, pod_manifest, secret_manifest
from app.spawner.backends.rate_limit import SpawnerStopping
from app.spawner.heartbeat import SpawnerHeartbeat, try_step
from app.spawner.pod_plan import PodLimits, closed, plan
from db import tokens
from db.errors import DatabaseError
from db.pods import PodAction, PodDatabase, PodRequest, PodRow

_log = logging.getLogger("ado.spawner")
_FIRST_RETRY_SECONDS = 0.5
_LONGEST_UNANSWERED_SECONDS = 5.0
_QUIET_TRIES = 3  # a single 429 or lost connection is not reported
_AWAY_SECONDS = 10.0  # longer than it takes to start a new watch, which happens every few minutes
_GATHER_SECONDS = 0.05  # changes come in bursts, and each step reads all rows


@dataclass(frozen=True, slots=True)
class PodSpawnerTiming:
    """Seconds between steps, seconds until another spawner may retry an action, and how many actions run at once."""

    interval: float
    retry_seconds: float
    in_flight: int


class PodSpawner:
    """One spawner process over one namespace."""

    def __init__(
        self,
        database: PodDatabase,
        cluster: Cluster,
        watch: PodWatch,
        frame: PodFrame,
        *,
        offered: frozenset[str],
        limits: PodLimits,
        timeouts: PodTimeouts,
        timing: PodSpawnerTiming,
        heartbeat: SpawnerHeartbeat,
    ) -> None:
        self._database = database
        self._heartbeat = heartbeat
        self._cluster = cluster
        self._watch = watch
        self._frame = frame
        self._offered = offered
        self._limits = limits
        self._patience = timeouts
        self._timing = timing
        self._executor = ThreadPoolExecutor(timing.in_flight, "pods")
        self._busy: dict[str, Future[None]] = {}
        self._placed_at: dict[str, float] = {}
        self._orphans: dict[str, float] = {}
        self._not_postponed: dict[str, float] = {}
        self._database_since: float | None = None
        self._followed_at = time.monotonic()
        self._warm_pod = PodRequest(None, limits.default)

    def run(self, stopping: threading.Event) -> None:
        """Step until ``stopping`` is set. Pods stay: another spawner, or the next one, goes on with them."""
        with contextlib.suppress(DatabaseError):  # so that the first list shows which pods went while no spawner ran
            self._note_placed(self._database.open_pods())
        self._watch.start()
        try:
            while not stopping.is_set():
                answered, problem = try_step(self.step)
                if not answered:
                    self._database_since = None
                elif problem is None:
                    self._database_since = self._database_since or time.monotonic()
                self._heartbeat.beat(self._offered, problem or self._cluster_problem())
                self._watch.changed.wait(self._timing.interval)
                stopping.wait(_GATHER_SECONDS)
                self._watch.changed.clear()
        finally:
            self._heartbeat.stop()
            self._watch.stop()
            self._cluster.stop()
            self._executor.shutdown(wait=True, cancel_futures=True)

    def _cluster_problem(self) -> str | None:
        now = time.monotonic()
        if self._watch.followed_seconds():
            self._followed_at = now
        return None if now - self._followed_at < _AWAY_SECONDS else "the cluster's API server does not answer"

    def step(self) -> None:
        """Read rows and pods, judge the pods, decide and act."""
        self._busy = {name: future for name, future in self._busy.items() if not future.done()}
        pods = self._watch.pods()  # before the rows, because a pod's row exists before the pod
        rows = {row.name: row for row in self._database.open_pods()}
        self._postpone_again()
        self._judge(rows, pods)
        for name in pods.keys() - rows.keys():
            self._remove_orphan(name, pods[name])
        self._decide()
        self._act()

    def _judge(self, rows: dict[str, PodRow], pods: dict[str, Manifest]) -> None:
        self._note_placed(rows.values())
        gone = self._watch.gone(self._placed_at)
        seen = self._seen_seconds()
        for name, row in rows.items():
            if row.state == "ending" and row.uid in gone:
                self._database.ended(name)
            elif row.state == "placed" and row.uid in gone:
                self._settle(row, pod_diagnosis.of_absence(row))
            elif row.state == "placed" and name in pods:
                self._settle(row, pod_diagnosis.judge(row, pods[name], self._patience, seen))

    def _seen_seconds(self) -> float:
        """Return for how long cluster and database have answered without a break."""
        if self._database_since is None:
            return 0.0
        return min(self._watch.followed_seconds(), time.monotonic() - self._database_since)

    def _note_placed(self, rows: Iterable[PodRow]) -> None:
        now = time.monotonic()
        self._placed_at = {row.uid: self._placed_at.get(row.uid, now) for row in rows if row.uid is not None}

    def _settle(self, row: PodRow, diagnosis: PodDiagnosis) -> None:
        if diagnosis.fate == "waits":
            self._record(row, diagnosis)
            return
        self._log_fate(row.name, diagnosis)
        if not diagnosis.reason:
            self._database.completed(row.name)
        elif diagnosis.fate != "failed":
            # a node that was lost before the worker registered is no fault of the job's
            never_began = diagnosis.reason == "node_lost" and row.worker_state == "starting"
            self._database.lost(row.name, diagnosis.problem, count_unclaimed=not row.claimed and not never_began)
        else:
            self._database.failed(row.name, diagnosis.problem, diagnosis.exit_code)

    def _record(self, pod: PodRow | PodAction, diagnosis: PodDiagnosis) -> None:
        """Record what keeps a pod from running; once it has lasted, write it to the job's log."""
        if not diagnosis.reason:
            if pod.reason:
                self._database.clear_problem(pod.name)
        elif diagnosis.is_due(pod):
            if self._database.log_problem(pod.name, diagnosis.problem):
                self._log_fate(pod.name, diagnosis)
        elif (diagnosis.reason, diagnosis.problem.message[:2000]) != (pod.reason, pod.message):
            self._database.record_problem(pod.name, diagnosis.problem)

    def _decide(self) -> None:
        with self._database.deciding() as decider:
            if decider is None:
                return
            offered = self._offered | {"pod"}
            snapshot = decider.snapshot(offered)
            waiting = decider.waiting(offered, self._limits.max_pods, closed(snapshot, offered))
            decision = plan(replace(snapshot, waiting=waiting), self._offered, self._limits)
            names = decider.request(decision.jobs, self._offered, frozenset()) if decision.jobs else []
            for kept_for, count in decision.warm:
                names += decider.request([self._warm_pod] * count, self._offered, kept_for)
            for note in decision.notes:
                decider.note(note)
        if names:
            _log.info("pods decided", extra={"pods": names})
        claimed = {pod.name for pod in snapshot.pods if pod.claimed}
        for name in decision.surplus:
            _log.info("pod not needed", extra={"pod": name})
            self._database.close(name, unclaimed=name not in claimed)

    def _act(self) -> None:
        room = self._timing.in_flight - len(self._busy)
        if room <= 0:
            return
        for action in self._database.take(room, self._timing.retry_seconds, self._busy):
            self._busy[action.name] = self._executor.submit(self._try, action)
            self._busy[action.name].add_done_callback(lambda _: self._watch.changed.set())

    def _try(self, action: PodAction) -> None:
        try:
            if action.state == "wanted":
                self._place(action)
            else:
                self._remove(action)
        except SpawnerStopping:
            self._postpone(action, 0.0)
        except ClusterUnreachable as error:
            _log.warning("pod waits", extra={"pod": action.name, "detail": str(error)})
            self._wait(action, PodDiagnosis("waits", "", str(error)))
        except ClusterRefused as error:
            _log.warning("cluster refused", extra={"pod": action.name, "detail": str(error)})
            self._wait(action, pod_diagnosis.of_refusal(error, action, self._patience))
        except DatabaseError:
            _log.warning("spawner waits for the database")
            self._postpone(action, _FIRST_RETRY_SECONDS)
        except Exception:  # noqa: BLE001 - a failure of one pod must not stop the others
            _log.exception("pod not made or removed", extra={"pod": action.name})
            self._postpone(action, self._retry_seconds(action, answered=True))

    def _postpone(self, action: PodAction, seconds: float) -> None:
        try:
            self._database.postpone(action.name, seconds)
        except DatabaseError:
            self._not_postponed[action.name] = seconds

    def _postpone_again(self) -> None:
        """Postpone the pods that could not be postponed while the database was away."""
        for name in list(self._not_postponed):
            self._database.postpone(name, self._not_postponed.pop(name))

    def _wait(self, action: PodAction, diagnosis: PodDiagnosis) -> None:
        """Try again, later each time, with the reason in the pod's row; fail the job if every try would be refused."""
        answered = bool(diagnosis.reason)
        try:
            if action.state == "wanted" and diagnosis.fate == "failed":
                self._database.failed(action.name, diagnosis.problem, None)
                return
            if not answered and action.tries >= _QUIET_TRIES:
                diagnosis = replace(diagnosis, reason="cluster_away")
            if action.state == "wanted" and diagnosis.reason:
                self._record(action, diagnosis)
        except DatabaseError:
            _log.warning("spawner waits for the database")
        self._postpone(action, self._retry_seconds(action, answered=answered))

    def _retry_seconds(self, action: PodAction, *, answered: bool) -> float:
        longest = self._timing.retry_seconds if answered else _LONGEST_UNANSWERED_SECONDS
        return min(longest, _FIRST_RETRY_SECONDS * 2.0 ** min(max(action.tries - 1, 0), 10))

    def _place(self, action: PodAction) -> None:
        """Create pod, token and Secret, in this order; each may exist from an earlier try."""
        pod = self._ensure_pod(action)
        if pod is None:
            _log.error("pod's name is taken", extra={"pod": action.name})
            self._database.close(action.name)
            return
        uid = pod["metadata"]["uid"]
        token = tokens.new("worker", worker_id=action.name, capabilities=action.offered, single=True)
        self._database.create_token(token)
        try:
            self._cluster.create_secret(secret_manifest(self._frame, action, uid, token.token))
        except ClusterRefused as error:
            if error.status != 409:  # 409: an earlier try created it, for the same pod
                raise
        if self._database.placed(action.name, uid):
            _log.info("pod made", extra={"pod": action.name})

    def _ensure_pod(self, action: PodAction) -> Manifest | None:
        """Return the pod of a decision, created now or before; None if another pod has the name."""
        try:
            return self._cluster.create_pod(pod_manifest(self._frame, action))
        except ClusterRefused as error:
            if error.status != 409 or error.reason == "Conflict":  # two pods met at the quota
                raise
        pod = self._find(action)
        if pod is None or "deletionTimestamp" in pod["metadata"]:
            raise ClusterUnreachable("a pod of this name is just being removed")
        return pod if self._is_ours(pod, action) else None

    def _remove(self, action: PodAction) -> None:
        """Remove a pod; if it is gone already, end its row."""
        uid = action.uid
        if uid is None:
            pod = self._find(action)
            uid = pod["metadata"]["uid"] if pod and self._is_ours(pod, action) else None
        if uid is None or not self._delete(action.name, uid, by_force=action.reason == "node_lost"):
            self._database.ended(action.name)

    def _find(self, action: PodAction) -> Manifest | None:
        try:
            return self._cluster.get_pod(action.name)
        except ClusterRefused as error:
            if error.status != 404:
                raise
            return None

    def _is_ours(self, pod: Manifest, action: PodAction) -> bool:
        labels = pod["metadata"].get("labels", {})
        return (labels.get("ado/installation"), labels.get("ado/decision")) == (
            self._frame.installation,
            str(action.decision),
        )

    def _delete(self, name: str, uid: str, *, by_force: bool = False) -> bool:
        """Ask for a pod's removal; False if it does not exist any more."""
        try:
            self._cluster.delete_pod(name, uid, 0 if by_force else None)
        except ClusterRefused as error:
            if error.status not in (404, 409):
                raise
            return False
        return True

    def _remove_orphan(self, name: str, pod: Manifest) -> None:
        """Remove a pod of this installation that has no row, unless that was tried a moment ago."""
        now = time.monotonic()
        if "deletionTimestamp" in pod["metadata"] or now < self._orphans.get(name, 0.0):
            return
        self._orphans = {other: until for other, until in self._orphans.items() if until > now}
        self._orphans[name] = now + self._timing.retry_seconds
        _log.warning("orphan removed", extra={"pod": name})
        self._executor.submit(self._delete_orphan, name, pod["metadata"]["uid"])

    def _delete_orphan(self, name: str, uid: str) -> None:
        try:
            self._delete(name, uid)
        except (ClusterRefused, ClusterUnreachable, SpawnerStopping) as error:
            _log.warning("orphan not removed", extra={"pod": name, "detail": str(error)})

    @staticmethod
    def _log_fate(name: str, diagnosis: PodDiagnosis) -> None:
        _log.info(
            "pod",
            extra={"pod": name, "fate": diagnosis.fate, "reason": diagnosis.reason, "detail": diagnosis.message},
        )
