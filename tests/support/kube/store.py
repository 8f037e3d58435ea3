"""Objects with versions, and the log of their changes that watches read."""

import bisect
import copy
import threading
import uuid
from datetime import UTC, datetime


class ApiError(Exception):
    """An answer that is an error: its code, reason and message."""

    def __init__(self, code, reason, message, retry_after=None):
        super().__init__(message)
        self.code = code
        self.body = {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": reason, "code": code,
        }  # fmt: skip
        self.retry_after = retry_after


def now():
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def matches(labels, selector):
    """Whether labels meet an equality selector."""
    for term in filter(None, selector.split(",")):
        name, _, value = term.replace("==", "=").partition("=")
        if labels.get(name) != value:
            return False
    return True


class Store:
    """Pods, Secrets and quotas; every change has the next resourceVersion and stands in the log."""

    def __init__(self):
        self.changed = threading.Condition(threading.RLock())
        self.version = 1000
        self.objects = {}
        self.log = []
        self.compacted = self.version

    def create(self, kind, namespace, given):
        with self.changed:
            made = copy.deepcopy(given)
            name = made["metadata"]["name"]
            if (kind, namespace, name) in self.objects:
                raise ApiError(409, "AlreadyExists", f'{kind} "{name}" already exists')
            made["metadata"] |= {"namespace": namespace, "uid": str(uuid.uuid4()), "creationTimestamp": now()}
            if kind == "pods":
                made["status"] = {"phase": "Pending"}
            self.objects[kind, namespace, name] = made
            self._record(kind, "ADDED", made)
            self._collect_garbage()
            return copy.deepcopy(made)

    def get(self, kind, namespace, name):
        with self.changed:
            if (kind, namespace, name) not in self.objects:
                raise ApiError(404, "NotFound", f'{kind} "{name}" not found')
            return copy.deepcopy(self.objects[kind, namespace, name])

    def list(self, kind, namespace, selector=""):
        with self.changed:
            found = [
                copy.deepcopy(item)
                for (of, where, _), item in sorted(self.objects.items())
                if (of, where) == (kind, namespace) and matches(item["metadata"].get("labels", {}), selector)
            ]
            return found, self.version

    def update(self, kind, namespace, name, change):
        """Apply a function to an object, if it is still there."""
        with self.changed:
            item = self.objects.get((kind, namespace, name))
            if item is None:
                return
            before = copy.deepcopy(item)
            change(item)
            if item != before:
                self._record(kind, "MODIFIED", item)

    def delete(self, kind, namespace, name, options):
        """Delete at once, or mark a pod that runs: its kubelet then ends it."""
        with self.changed:
            item = self.objects.get((kind, namespace, name))
            if item is None:
                raise ApiError(404, "NotFound", f'{kind} "{name}" not found')
            meta = item["metadata"]
            wanted = options.get("preconditions", {}).get("uid", meta["uid"])
            if wanted != meta["uid"]:
                raise ApiError(
                    409, "Conflict",
                    f'Operation cannot be fulfilled on {kind} "{name}": the UID in the precondition ({wanted}) does '
                    f"not match the UID in record ({meta['uid']})",
                )  # fmt: skip
            runs = kind == "pods" and item["spec"].get("nodeName") and item["status"]["phase"] in ("Pending", "Running")
            grace = options.get("gracePeriodSeconds", item.get("spec", {}).get("terminationGracePeriodSeconds", 30))
            if runs and grace > 0:
                meta["deletionTimestamp"] = now()
                meta["deletionGracePeriodSeconds"] = grace
                self._record(kind, "MODIFIED", item)
            else:
                self.remove(kind, namespace, name)
            return copy.deepcopy(item)

    def remove(self, kind, namespace, name):
        with self.changed:
            item = self.objects.pop((kind, namespace, name), None)
            if item is not None:
                self._record(kind, "DELETED", item)
                self._collect_garbage()

    def compact(self):
        """Forget the log: a watch from any version before now has expired."""
        with self.changed:
            self.log.clear()
            self.version += 1
            self.compacted = self.version

    def after(self, version, kind, namespace, selector):
        """Return the changes after a version that a watch sees."""
        with self.changed:
            if version < self.compacted:
                raise ApiError(410, "Expired", f"too old resource version: {version} ({self.compacted})")
            start = bisect.bisect_right(self.log, version, key=lambda entry: entry[0])
            return [
                (number, type_, item)
                for number, of, type_, item in self.log[start:]
                if (of, item["metadata"]["namespace"]) == (kind, namespace)
                and matches(item["metadata"].get("labels", {}), selector)
            ]

    def _record(self, kind, type_, item):
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        self.log.append((self.version, kind, type_, copy.deepcopy(item)))
        self.changed.notify_all()

    def _collect_garbage(self):
        """Remove what is owned by something that is not there."""
        alive = {item["metadata"]["uid"] for item in self.objects.values()}
        for key, item in list(self.objects.items()):
            owners = item["metadata"].get("ownerReferences", [])
            if owners and not any(owner["uid"] in alive for owner in owners):
                self.remove(*key)
