"""A scheduler and a node: each pod's container is a process of this machine, its volumes are directories.

The process sees its mounts under their real paths: a variable or argument that names a path inside a mount is
rewritten to the directory that stands for it.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from support.kube.scheduler import UNREACHABLE, Node, amount, schedule
from support.kube.store import now
from support.postgres import remove

_TICK = 0.02
_IMAGE = re.compile(r"[a-z0-9]+([._/:@-][a-zA-Z0-9]+)*")


class Container:
    """The process of a pod."""

    def __init__(self, pod, mounts, directory):
        spec = pod["spec"]["containers"][0]
        paths = {mount["mountPath"]: str(mounts[mount["name"]]) for mount in spec["volumeMounts"]}
        command = [self._inside(part, paths) for part in [*spec.get("command", []), *spec.get("args", [])]]
        env = {item["name"]: self._inside(item["value"], paths) for item in spec.get("env", [])}
        if command[:1] == ["ado"]:
            command[:1] = [sys.executable, "-P", "-m", "cli"]
        self.log = directory / "log"
        self.limit = amount(spec["resources"]["limits"]["memory"])
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd="/",
            )
        self.directory = directory
        self.started = time.monotonic()
        self.asked = None
        self.reason = None

    @staticmethod
    def _inside(text, paths):
        for path, directory in paths.items():
            if text == path or text.startswith(f"{path}/"):
                return directory + text[len(path) :]
        return text

    def memory(self):
        """Bytes in use by the process and its descendants."""
        return sum(rss(pid) for pid in descendants(self.process.pid))

    def kill(self, reason=None):
        self.reason = self.reason or reason
        for pid in reversed(descendants(self.process.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def ask(self):
        if self.asked is None:
            self.asked = time.monotonic()
            self.process.terminate()

    def clean(self):
        self.kill()
        self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


def descendants(pid):
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def rss(pid):
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


class Kubelet:
    """Moves every pod on, a little at a time; with ``processes`` off, pods run without anything in them."""

    def __init__(self, store, *, images):
        self.store = store
        self.images = images
        self.nodes = [Node("node-1")]
        self.processes = True
        self.containers = {}
        self.lost = set()
        self.second = 1.0
        """How long a second of a toleration takes."""
        self._chores = []
        self._root = Path(tempfile.mkdtemp(prefix="ado-kubelet-"))
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kubelet", daemon=True)
        self._thread.start()

    def close(self):
        self._stopping.set()
        self._thread.join()
        for container in self.containers.values():
            container.clean()
        remove(self._root)

    def _run(self):
        while not self._stopping.wait(_TICK):
            with self.store.changed:
                pods = [item for (kind, *_), item in self.store.objects.items() if kind == "pods"]
            for pod in pods:
                self._step(pod)
            for chore in self._chores:
                chore()
            alive = {pod["metadata"]["uid"] for pod in pods}
            for uid in [uid for uid in self.containers if uid not in alive]:
                self.containers.pop(uid).clean()  # forgotten by force

    def _step(self, pod):
        meta, status = pod["metadata"], pod["status"]
        if meta["uid"] in self.lost or self._is_lost(pod):
            return
        if "nodeName" not in pod["spec"]:
            self._schedule(pod)
        elif status["phase"] == "Pending" and "deletionTimestamp" in meta:
            self._remove(pod)
        elif status["phase"] == "Pending":
            self._start(pod)
        elif status["phase"] == "Running":
            self._tend(pod)
        elif "deletionTimestamp" in meta:
            self._remove(pod)

    def _is_lost(self, pod):
        return any(node.lost and node.name == pod["spec"].get("nodeName") for node in self.nodes)

    def lose(self, name):
        """Cut a node off: its pods are still shown as running, and have no connection."""
        (node,) = (node for node in self.nodes if node.name == name)
        node.lost = True
        for pod in self._pods_of(name):
            if container := self.containers.get(pod["metadata"]["uid"]):
                container.kill()

    def notice(self, name):
        """Let the cluster find out: the node is tainted, and its pods go once they tolerate that no longer."""
        (node,) = (node for node in self.nodes if node.name == name)
        node.taints |= {(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")}
        noticed = time.monotonic()

        def evict():
            for pod in self._pods_of(name):
                rules = [item for item in pod["spec"].get("tolerations", []) if item.get("key") == UNREACHABLE]
                seconds = rules[0].get("tolerationSeconds", 300) if rules else 300
                if time.monotonic() - noticed >= seconds * self.second and "deletionTimestamp" not in pod["metadata"]:
                    self._taint_deletes(pod)

        self._chores.append(evict)

    def _pods_of(self, name):
        with self.store.changed:
            return [
                item
                for (kind, *_), item in self.store.objects.items()
                if kind == "pods" and item["spec"].get("nodeName") == name
            ]

    def _taint_deletes(self, pod):
        condition = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
                     "message": "Taint manager: deleting due to NoExecute taint"}  # fmt: skip
        self._update(pod, lambda item: item["status"]["conditions"].append(condition))
        self.store.delete("pods", pod["metadata"]["namespace"], pod["metadata"]["name"], {})

    def _schedule(self, pod):
        spec = pod["spec"]
        with self.store.changed:
            others = [item for (kind, *_), item in self.store.objects.items() if kind == "pods"]
        node, why = schedule(pod, self.nodes, others)
        if why:
            condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why}
        else:
            condition = {"type": "PodScheduled", "status": "True"}

        def change(item):
            item["status"]["conditions"] = [condition]
            if not why:
                item["spec"]["nodeName"] = node
                container = spec["containers"][0]
                item["status"]["containerStatuses"] = [
                    {
                        "name": container["name"], "image": container["image"], "imageID": "", "ready": False,
                        "restartCount": 0, "state": {"waiting": {"reason": "ContainerCreating"}}, "lastState": {},
                    }
                ]  # fmt: skip

        self._update(pod, change)

    def _start(self, pod):
        image = pod["spec"]["containers"][0]["image"]
        if not _IMAGE.fullmatch(image):
            self._wait(pod, "InvalidImageName", f'couldn\'t parse image name "{image}": invalid reference format')
        elif image not in self.images:
            self._wait(pod, "ErrImagePull", f'failed to pull and unpack image "{image}": not found')
        elif not self.processes:
            self._state(pod, "Running", {"running": {"startedAt": now()}})
        elif (mounts := self._mounts(pod)) is not None:
            try:
                self.containers[pod["metadata"]["uid"]] = Container(pod, *mounts)
            except OSError as error:
                message = f"failed to create containerd task: unable to start container process: {error}"
                self._end(pod, {"exitCode": 128, "reason": "StartError", "message": message})
            else:
                self._state(pod, "Running", {"running": {"startedAt": now()}})

    def _mounts(self, pod):
        """Make the volumes; None while a Secret is not there."""
        directory = self._root / pod["metadata"]["uid"]
        made = {}
        for volume in pod["spec"].get("volumes", []):
            where = directory / volume["name"]
            where.mkdir(parents=True, exist_ok=True)
            made[volume["name"]] = where
            if "secret" in volume:
                key = ("secrets", pod["metadata"]["namespace"], volume["secret"]["secretName"])
                secret = self.store.objects.get(key)
                if secret is None:
                    return None
                for name, value in secret["stringData"].items():
                    # a real mount is read-only, and there the group may read; a plain directory is not
                    mode = volume["secret"]["defaultMode"] & 0o700
                    with os.fdopen(os.open(where / name, os.O_CREAT | os.O_WRONLY, mode), "w") as file:
                        file.write(value)
        return made, directory

    def _tend(self, pod):
        container = self.containers.get(pod["metadata"]["uid"])
        meta, spec = pod["metadata"], pod["spec"]
        if container is None:
            if "deletionTimestamp" in meta:
                self._remove(pod)
            return
        if container.process.poll() is not None:
            self._ended(pod, container)
            return
        if container.memory() > container.limit:
            container.kill("OOMKilled")
        deadline = spec.get("activeDeadlineSeconds")
        if deadline and time.monotonic() - container.started > deadline:
            container.reason = "DeadlineExceeded"
            container.ask()
        if "deletionTimestamp" in meta:
            container.ask()
        grace = meta.get("deletionGracePeriodSeconds", spec.get("terminationGracePeriodSeconds", 30))
        if container.asked and time.monotonic() - container.asked > grace:
            container.kill()

    def _ended(self, pod, container):
        code = container.process.returncode
        code = 128 - code if code < 0 else code
        container.kill()  # what is left of its tree goes with it
        terminated = {"exitCode": code, "reason": "Completed" if code == 0 else "Error"}
        if code:
            terminated["message"] = container.log.read_text("utf-8", "replace")[-2000:]
        if container.reason == "OOMKilled":
            terminated = {"exitCode": 137, "reason": "OOMKilled"}
        del self.containers[pod["metadata"]["uid"]]
        container.clean()
        if container.reason == "DeadlineExceeded":
            said = "Pod was active on the node longer than the specified deadline"
            self._end(pod, terminated, {"reason": "DeadlineExceeded", "message": said, "phase": "Failed"})
        else:
            self._state(pod, "Running", {"terminated": terminated})  # the phase follows later, as it does
            self._end(pod, terminated)

    def _end(self, pod, terminated, status=None):
        phase = "Succeeded" if terminated["exitCode"] == 0 else "Failed"

        def change(item):
            item["status"]["containerStatuses"][0]["state"] = {"terminated": terminated}
            item["status"] |= {"phase": phase, **(status or {})}

        self._update(pod, change)

    def _wait(self, pod, reason, message):
        self._state(pod, "Pending", {"waiting": {"reason": reason, "message": message}})

    def _state(self, pod, phase, state):
        def change(item):
            item["status"]["containerStatuses"][0]["state"] = state
            item["status"]["phase"] = phase

        self._update(pod, change)

    def _update(self, pod, change):
        self.store.update("pods", pod["metadata"]["namespace"], pod["metadata"]["name"], change)

    def _remove(self, pod):
        self.store.remove("pods", pod["metadata"]["namespace"], pod["metadata"]["name"])
