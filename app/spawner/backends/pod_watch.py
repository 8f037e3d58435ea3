"""A copy of the pods of this installation, kept up to date by a thread of its own.

The thread lists the pods and then watches from the list's version; bookmarks advance the version while nothing happens.
When a watch ends on time, the next one continues it. After any error (an expired version, a cut or silent connection, a
server that is away) the thread lists again, after a growing pause. The copy is a hint: a pod that is missing counts as
gone only if the copy had it before, or if the list started after the pod was known to be placed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Mapping

from app.spawner.backends.kubernetes import Cluster, ClusterRefused, ClusterUnreachable, Manifest

_log = logging.getLogger("ado.spawner")
_LONGEST_PAUSE = 10.0
_WATCHES_A_LIST = 10


class PodWatch:
    """The copy; ``changed`` is set whenever there is something new."""

    def __init__(self, cluster: Cluster, selector: str, *, seconds: float) -> None:
        self.changed = threading.Event()
        self._cluster = cluster
        self._selector = selector
        self._seconds = seconds
        self._pods: dict[str, Manifest] = {}
        self._deleted: deque[str] = deque(maxlen=10_000)
        self._listed_at: float | None = None
        self._followed_since: float | None = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pod watch", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop; an open watch ends with the process."""
        self._stopping.set()

    def pods(self) -> dict[str, Manifest]:
        """Return the pods by name; their specs have only the node."""
        with self._lock:
            return dict(self._pods)

    def followed_seconds(self) -> float:
        """Return for how long the cluster has answered without a break; 0 while it does not."""
        with self._lock:
            return 0.0 if self._followed_since is None else time.monotonic() - self._followed_since

    def gone(self, placed_at: Mapping[str, float]) -> set[str]:
        """Return which of these uids are gone, given when (monotonic) each pod was first known to be placed."""
        with self._lock:
            there = {pod["metadata"]["uid"] for pod in self._pods.values()}
            deleted, listed_at = set(self._deleted), self._listed_at
            return {
                uid
                for uid, since in placed_at.items()
                if uid not in there and (uid in deleted or (listed_at is not None and since < listed_at))
            }

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                version = self._list()
                failures = 0
                self._follow(version)
            except (ClusterRefused, ClusterUnreachable) as error:
                expired = isinstance(error, ClusterRefused) and error.status == 410
                _log.warning("pods are listed again", extra={"detail": str(error)})
                if not expired:
                    failures += 1
                    self._pause(failures)
            except Exception:  # noqa: BLE001 - without this thread the spawner would be blind for good
                _log.exception("step failed", extra={"step": "pod watch"})
                failures += 1
                self._pause(failures)

    def _pause(self, failures: int) -> None:
        self._stopping.wait(min(_LONGEST_PAUSE, 0.1 * 2 ** min(failures, 10)))

    def _list(self) -> str:
        started_at = time.monotonic()
        try:
            pods, version = self._cluster.list_pods(self._selector)
        except (ClusterRefused, ClusterUnreachable):
            with self._lock:
                self._followed_since = None
            raise
        with self._lock:
            self._followed_since = self._followed_since or started_at
            self._pods = {pod["metadata"]["name"]: _trimmed(pod) for pod in pods}
            self._listed_at = started_at
        self.changed.set()
        return version

    def _follow(self, version: str) -> None:
        for _ in range(_WATCHES_A_LIST):
            for kind, pod in self._cluster.watch_pods(self._selector, version, self._seconds):
                version = pod["metadata"]["resourceVersion"]
                if kind != "BOOKMARK":
                    self._apply(kind, pod)
                if self._stopping.is_set():
                    return

    def _apply(self, kind: str, pod: Manifest) -> None:
        name = pod["metadata"]["name"]
        with self._lock:
            if kind == "DELETED":
                self._pods.pop(name, None)
                self._deleted.append(pod["metadata"]["uid"])
            else:
                self._pods[name] = _trimmed(pod)
        self.changed.set()


def _trimmed(pod: Manifest) -> Manifest:
    node = {"nodeName": pod.get("spec", {}).get("nodeName")}
    return {"metadata": pod["metadata"], "spec": node, "status": pod.get("status", {})}
