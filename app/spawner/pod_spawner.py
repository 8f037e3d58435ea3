"""The spawner of pods: makes one for each job that needs one, watches over them, and cleans up. Any number may run.

States of a pod's row: wanted (decided), placed (pod and Secret exist), ending (to be removed), ended (gone). What
keeps a pod from running is a reason and a message in its row, from the first look on; the job's log gets what lasts.
Authority: the rows. A decision is recorded under the namespace's advisory try-lock and carried out after the commit,
by whichever spawner takes the row first; one that dies at it is succeeded after ``ADO_POD_RETRY_SECONDS``. The name
holds the decision's number, so that doing it twice makes nothing twice: the second pod is refused, and found to be
the first by its labels. The pod comes first and waits for its Secret, which it owns: whatever fails between the two,
removing the pod leaves nothing.
Clock: the database's, for everything that may run out; the cluster's times are not read. Nothing runs out while this
spawner could not see cluster and database, nor while a pod waits for room.
Hints: the watch. What it says is judged against the rows, and every statement is fenced by the row's state, so that
spawners who see the same death requeue its job once.
Failures: no database: nothing is decided, running pods go on. No cluster: rows wait, nothing is believed to be gone.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from app.spawner.backends import pod_diagnosis
from app.spawner.backends.kubernetes import Cluster, Manifest, Refused, Unreachable
from app.spawner.backends.pod_diagnosis import Finding, Patience
from app.spawner.backends.pod_watch import PodWatch
from app.spawner.backends.podspec import PodFrame, pod_manifest, secret_manifest
from app.spawner.backends.rate_limit import Closed
from app.spawner.heartbeat import Presence
from app.spawner.pod_plan import PodLimits, plan
from db import tokens
from db.errors import DatabaseError
from db.pods import PodDatabase, PodRow, PodTask, PodWish

_log = logging.getLogger("ado.spawner")
_FIRST_RETRY_SECONDS = 0.5
_LONGEST_UNANSWERED_SECONDS = 5.0
_QUIET_TRIES = 3  # a single 429 or lost connection is nobody's concern
_AWAY_SECONDS = 10.0  # a watch begins anew every few minutes, within seconds
_GATHER_SECONDS = 0.05  # changes come in bursts; each look reads all rows


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Seconds between looks, and until a begun action is anybody's again; actions at once."""

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
        patience: Patience,
        rhythm: Rhythm,
        presence: Presence,
    ) -> None:
        self._database = database
        self._presence = presence
        self._cluster = cluster
        self._watch = watch
        self._frame = frame
        self._offered = offered
        self._limits = limits
        self._patience = patience
        self._rhythm = rhythm
        self._hands = ThreadPoolExecutor(rhythm.in_flight, "pods")
        self._busy: dict[str, Future[None]] = {}
        self._placed_at: dict[str, float] = {}
        self._orphans: dict[str, float] = {}
        self._unpostponed: dict[str, float] = {}
        self._database_since: float | None = None
        self._followed_at = time.monotonic()
        self._warm = PodWish(None, limits.default)

    def run(self, stopping: threading.Event) -> None:
        """Step until told to stop. Pods are left alone: another spawner, or the next one, goes on with them."""
        with contextlib.suppress(DatabaseError):  # pods that went while nobody looked are missed in the first list
            self._note_placed(self._database.open_pods())
        self._watch.start()
        try:
            while not stopping.is_set():
                problem = None
                try:
                    self.step()
                except DatabaseError as error:
                    self._database_since = None
                    _log.warning("spawner waits for the database", extra={"detail": str(error)})
                except Exception as error:  # noqa: BLE001 - a loop outlives its steps
                    _log.exception("step failed", extra={"step": "spawner"})
                    problem = f"its last step failed: {error}"
                else:
                    self._database_since = self._database_since or time.monotonic()
                    problem = self._cluster_problem()
                self._presence.beat(self._offered, problem)
                self._watch.changed.wait(self._rhythm.interval)
                stopping.wait(_GATHER_SECONDS)
                self._watch.changed.clear()
        finally:
            self._presence.leave()
            self._watch.stop()
            self._cluster.stop()
            self._hands.shutdown(wait=True, cancel_futures=True)

    def _cluster_problem(self) -> str | None:
        now = time.monotonic()
        if self._watch.followed_seconds():
            self._followed_at = now
        return None if now - self._followed_at < _AWAY_SECONDS else "the cluster's API server does not answer"

    def step(self) -> None:
        """Look once, judge, decide and act."""
        self._busy = {name: future for name, future in self._busy.items() if not future.done()}
        pods = self._watch.pods()  # before the rows: every pod has had a row before it was made
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

    def _settle(self, row: PodRow, found: Finding) -> None:
        if found.fate == "waits":
            self._note(row, found)
            return
        self._say(row.name, found)
        if not found.reason:
            self._database.over(row.name)
        elif found.fate != "failed":
            never_began = found.reason == "node_lost" and row.worker_state == "starting"  # no fault of the job's
            self._database.lost(row.name, found.told, waits=not row.claimed and not never_began)
        else:
            self._database.failed(row.name, found.told, found.exit_code)

    def _note(self, pod: PodRow | PodTask, found: Finding) -> None:
        """Record what keeps a pod from running; say it in the job's log once it has lasted."""
        if not found.reason:
            if pod.reason:
                self._database.soothe(pod.name)
        elif found.is_due(pod):
            if self._database.tell(pod.name, found.told):
                self._say(pod.name, found)
        elif (found.reason, found.told.message[:2000]) != (pod.reason, pod.message):
            self._database.note(pod.name, found.told)

    def _decide(self) -> None:
        with self._database.deciding() as decider:
            if decider is None:
                return
            decision = plan(
                decider.situation(self._offered | {"pod"}, self._limits.max_pods), self._offered, self._limits
            )
            made = decider.request(decision.jobs, self._offered, frozenset()) if decision.jobs else []
            for kept_for, count in decision.warm:
                made += decider.request([self._warm] * count, self._offered, kept_for)
        if made:
            _log.info("pods decided", extra={"pods": made})
        for name in decision.surplus:
            _log.info("pod not needed", extra={"pod": name})
            self._database.close(name)

    def _act(self) -> None:
        room = self._rhythm.in_flight - len(self._busy)
        if room <= 0:
            return
        for task in self._database.take(room, self._rhythm.retry_seconds, self._busy):
            action = self._place if task.state == "wanted" else self._remove
            self._busy[task.name] = self._hands.submit(self._try, action, task)
            self._busy[task.name].add_done_callback(lambda _: self._watch.changed.set())

    def _try(self, action: Callable[[PodTask], None], task: PodTask) -> None:
        try:
            action(task)
        except Closed:
            self._postpone(task, 0.0)
        except Unreachable as error:
            _log.warning("pod waits", extra={"pod": task.name, "detail": str(error)})
            self._wait(task, Finding("waits", "", str(error)))
        except Refused as error:
            _log.warning("cluster refused", extra={"pod": task.name, "detail": str(error)})
            self._wait(task, pod_diagnosis.of_refusal(error, task, self._patience))
        except DatabaseError:
            _log.warning("spawner waits for the database")
            self._postpone(task, _FIRST_RETRY_SECONDS)
        except Exception:  # noqa: BLE001 - one pod's trouble is not the others'
            _log.exception("pod not made or removed", extra={"pod": task.name})
            self._postpone(task, self._retry_seconds(task, answered=True))

    def _postpone(self, task: PodTask, seconds: float) -> None:
        try:
            self._database.postpone(task.name, seconds)
        except DatabaseError:
            self._unpostponed[task.name] = seconds

    def _postpone_again(self) -> None:
        """Free the pods that could not be postponed while the database was away: nobody is at them."""
        for name in list(self._unpostponed):
            self._database.postpone(name, self._unpostponed.pop(name))

    def _wait(self, task: PodTask, found: Finding) -> None:
        """Try again, later each time; say why in the pod's row, and fail the job when it would be refused for ever."""
        answered = bool(found.reason)
        try:
            if task.state == "wanted" and found.fate == "failed":
                self._database.failed(task.name, found.told, None)
                return
            if not answered and task.tries >= _QUIET_TRIES:
                found = replace(found, reason="cluster_away")
            if task.state == "wanted" and found.reason:
                self._note(task, found)
        except DatabaseError:
            _log.warning("spawner waits for the database")
        self._postpone(task, self._retry_seconds(task, answered=answered))

    def _retry_seconds(self, task: PodTask, *, answered: bool) -> float:
        longest = self._rhythm.retry_seconds if answered else _LONGEST_UNANSWERED_SECONDS
        return min(longest, _FIRST_RETRY_SECONDS * 2.0 ** min(max(task.tries - 1, 0), 10))

    def _place(self, task: PodTask) -> None:
        """Make pod, token and Secret, in this order, or find that somebody has."""
        pod = self._ensure_pod(task)
        if pod is None:
            _log.error("pod's name is taken", extra={"pod": task.name})
            self._database.close(task.name)
            return
        uid = pod["metadata"]["uid"]
        token = tokens.new("worker", worker_id=task.name, capabilities=task.offered, single=True)
        self._database.create_token(token)
        try:
            self._cluster.create_secret(secret_manifest(self._frame, task, uid, token.token))
        except Refused as error:
            if error.status != 409:  # else a spawner before this one made it, for the same pod
                raise
        if self._database.placed(task.name, uid):
            _log.info("pod made", extra={"pod": task.name})

    def _ensure_pod(self, task: PodTask) -> Manifest | None:
        """Return the pod of a decision, made now or before; None when the name is somebody else's."""
        try:
            return self._cluster.create_pod(pod_manifest(self._frame, task))
        except Refused as error:
            if error.status != 409 or error.reason == "Conflict":  # two pods met at the quota: neither is made
                raise
        found = self._find(task)
        if found is None or "deletionTimestamp" in found["metadata"]:
            raise Unreachable("a pod of this name is just being removed")
        return found if self._is_ours(found, task) else None

    def _remove(self, task: PodTask) -> None:
        """Remove a pod; once it is known to be gone, so is its row."""
        uid = task.uid
        if uid is None:
            found = self._find(task)
            uid = found["metadata"]["uid"] if found and self._is_ours(found, task) else None
        if uid is None or not self._delete(task.name, uid, by_force=task.reason == "node_lost"):
            self._database.ended(task.name)

    def _find(self, task: PodTask) -> Manifest | None:
        try:
            return self._cluster.get_pod(task.name)
        except Refused as error:
            if error.status != 404:
                raise
            return None

    def _is_ours(self, pod: Manifest, task: PodTask) -> bool:
        labels = pod["metadata"].get("labels", {})
        return (labels.get("ado/installation"), labels.get("ado/decision")) == (
            self._frame.installation,
            str(task.decision),
        )

    def _delete(self, name: str, uid: str, *, by_force: bool = False) -> bool:
        """Ask for a pod's removal; False when it is not there any more."""
        try:
            self._cluster.delete_pod(name, uid, 0 if by_force else None)
        except Refused as error:
            if error.status not in (404, 409):
                raise
            return False
        return True

    def _remove_orphan(self, name: str, pod: Manifest) -> None:
        """Remove a pod of this installation that no row speaks of, unless that was tried a while ago."""
        now = time.monotonic()
        if "deletionTimestamp" in pod["metadata"] or now < self._orphans.get(name, 0.0):
            return
        self._orphans = {other: until for other, until in self._orphans.items() if until > now}
        self._orphans[name] = now + self._rhythm.retry_seconds
        _log.warning("orphan removed", extra={"pod": name})
        self._hands.submit(self._delete_orphan, name, pod["metadata"]["uid"])

    def _delete_orphan(self, name: str, uid: str) -> None:
        try:
            self._delete(name, uid)
        except (Refused, Unreachable, Closed) as error:
            _log.warning("orphan not removed", extra={"pod": name, "detail": str(error)})

    @staticmethod
    def _say(name: str, found: Finding) -> None:
        _log.info("pod", extra={"pod": name, "fate": found.fate, "reason": found.reason, "detail": found.message})
