"""The pod of a worker, put together from layers; pure.

From below: ado's own pod (Pod Security *restricted*, no service account's token, a read-only root), the template's
``base``, its entry for each capability that the job needs, what the task asked for (image, node selector). On top
stands what ado depends on: names, labels, size, the ``ADO_*`` variables and the token. Layers are merged as the API
merges a strategic patch: maps by member, lists of named things by their name, other lists as a whole, null removes.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from app.core.capabilities import STDIN
from app.core.settings import SettingsError
from db.model import Resources
from db.pods import PodTask

Manifest = dict[str, Any]
GRACE_SECONDS = 10
"""From SIGTERM to SIGKILL of an agent, inside the pod."""
_MARGIN_SECONDS = 10
_USER = 1000
_NODE_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_LOST_NODE_SECONDS = 30
_TOKEN_DIRECTORY = "/var/run/secrets/ado"  # noqa: S105 - a path
_WRITABLE = ("work", "tmp")
_MERGED_BY = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "imagePullSecrets": "name",
    "resourceClaims": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
}


@dataclass(frozen=True, slots=True)
class Template:
    """The operator's layers."""

    base: Mapping[str, Any] = field(default_factory=dict)
    capabilities: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PodFrame:
    """What is the same in every pod of a spawner."""

    namespace: str
    installation: str
    urls: Sequence[str]
    image: str
    gpu_resource: str
    stop_seconds: float
    template: Template
    cpu_limit: float = 0.0
    """Cores that every worker may use while nobody else needs them, if that is more than it asks for."""

    @property
    def labels(self) -> dict[str, str]:
        """What every pod of this installation is found by."""
        return {
            "app.kubernetes.io/name": "ado",
            "app.kubernetes.io/component": "worker",
            "app.kubernetes.io/managed-by": "ado-spawner",
            "ado/installation": self.installation,
        }

    @property
    def selector(self) -> str:
        """The label selector for the pods of this installation."""
        return f"ado/installation={self.installation}"


def read_template(text: str) -> Template:
    """Parse a template file. Raises SettingsError."""
    try:
        found = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise SettingsError(f"the pod template is no YAML: {error}") from error
    if not isinstance(found, dict) or not found.keys() <= {"base", "capabilities"}:
        raise SettingsError("the pod template has two members: base, and capabilities by name")
    base, capabilities = found.get("base") or {}, found.get("capabilities") or {}
    if not all(isinstance(layer, dict) for layer in (base, capabilities, *capabilities.values())):
        raise SettingsError("the pod template's base and each of its capabilities must be a part of a pod")
    return Template(base, capabilities)


def merge(below: Any, above: Any) -> Any:
    """Lay one part of a pod over another."""
    if not isinstance(below, Mapping) or not isinstance(above, Mapping):
        return copy.deepcopy(above)
    merged = {} if above.get("$patch") == "replace" else dict(below)
    for name, value in above.items():
        if name == "$patch":
            continue
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, list) and name in _MERGED_BY:
            merged[name] = _merge_named(merged.get(name) or [], value, _MERGED_BY[name])
        else:
            merged[name] = merge(merged.get(name, {} if isinstance(value, Mapping) else None), value)
    return merged


def _merge_named(below: Sequence[Any], above: Sequence[Any], key: str) -> list[Any]:
    merged = {item[key]: item for item in below}
    for item in above:
        if item.get("$patch") == "delete":
            merged.pop(item[key], None)
        else:
            merged[item[key]] = merge(merged.get(item[key], {}), item)
    return list(merged.values())


def pod_manifest(frame: PodFrame, task: PodTask) -> Manifest:
    """Return the pod of a decision. Raises SettingsError when it has no image."""
    layers = [frame.template.base]
    layers += [
        frame.template.capabilities[name] for name in sorted(task.capabilities & frame.template.capabilities.keys())
    ]
    layers += [_wish(task.wish), _own(frame, task)]
    manifest: Manifest = _builtin(frame)
    for layer in layers:
        manifest = merge(manifest, layer)
    _tolerate(manifest["spec"])
    _avoid(manifest["spec"], task.avoid)
    worker = next(item for item in manifest["spec"]["containers"] if item["name"] == "worker")
    if not worker.get("image"):
        raise SettingsError("pods have no image: set ADO_POD_IMAGE, or the worker's image in the pod template")
    least = frame.stop_seconds + GRACE_SECONDS
    if manifest["spec"]["terminationGracePeriodSeconds"] < least:
        raise SettingsError(f"the pod template's terminationGracePeriodSeconds must be {least:.0f} or more")
    return manifest


def secret_manifest(frame: PodFrame, task: PodTask, uid: str, token: str) -> Manifest:
    """Return the Secret with a pod's token; it goes when the pod goes."""
    owner = {"apiVersion": "v1", "kind": "Pod", "name": task.name, "uid": uid}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": task.name, "labels": frame.labels, "ownerReferences": [owner]},
        "immutable": True,
        "stringData": {"token": token},
    }


def samples(frame: PodFrame, offered: Sequence[str]) -> list[PodTask]:
    """Return a decision for every layer alone and for all at once, to try the template on."""
    names = sorted(frame.template.capabilities)
    sets = [frozenset[str](), *(frozenset({name}) for name in names), frozenset(names)]
    size = Resources(1.0, 1024**3)
    return [
        PodTask("ado-task-1-0-d1", 1, (1, 0), wanted, tuple(offered), size, {}, "wanted", None, None) for wanted in sets
    ]


def _builtin(frame: PodFrame) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": round(frame.stop_seconds) + GRACE_SECONDS + _MARGIN_SECONDS,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": _USER,
                "runAsGroup": _USER,
                "fsGroup": _USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "worker",
                    "image": frame.image,
                    "command": ["ado", "worker"],
                    "terminationMessagePolicy": "FallbackToLogsOnError",
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [{"name": name, "mountPath": f"/{name}"} for name in _WRITABLE],
                }
            ],
            "volumes": [{"name": name, "emptyDir": {}} for name in _WRITABLE],
        },
    }


def _wish(wish: Mapping[str, Any]) -> Manifest:
    layer: Manifest = {}
    if selector := wish.get("nodeSelector"):
        layer["nodeSelector"] = selector
    if image := wish.get("image"):
        layer["containers"] = [{"name": "worker", "image": image}]
    return {"spec": layer}


def _own(frame: PodFrame, task: PodTask) -> Manifest:
    labels = {**frame.labels, "ado/decision": str(task.decision)}
    if task.key is not None:
        labels |= {"ado/task": f"task-{task.key[0]}", "ado/job": str(task.key[1])}
    size = {"cpu": _milli(task.resources.cpu), "memory": str(task.resources.memory)}
    if task.resources.gpu:
        size[frame.gpu_resource] = str(math.ceil(task.resources.gpu))
    most = {**size, "cpu": _milli(max(task.resources.cpu, frame.cpu_limit))}
    variables = {
        "ADO_URL": ",".join(frame.urls),
        "ADO_TOKEN_FILE": f"{_TOKEN_DIRECTORY}/token",
        "ADO_WORKER_ID": task.name,
        "ADO_CAPABILITIES": ",".join(_promised(task)),
        "ADO_OPTIONAL_CAPABILITIES": ",".join(name for name in _promised(task) if name not in task.capabilities),
        "ADO_MAX_JOBS": "1",
        "ADO_WORK_DIR": "/work",
        "ADO_ISOLATED": "true",
        "ADO_CPU": f"{task.resources.cpu:g}",
        "ADO_MEMORY": str(task.resources.memory),
        "ADO_GPU": f"{task.resources.gpu:g}",
        "ADO_STOP_SECONDS": f"{frame.stop_seconds:g}",
        "ADO_GRACE_SECONDS": str(GRACE_SECONDS),
    }
    worker = {
        "name": "worker",
        "env": [{"name": name, "value": value} for name, value in variables.items()],
        "resources": {"requests": size, "limits": most},
        "volumeMounts": [{"name": "token", "mountPath": _TOKEN_DIRECTORY, "readOnly": True}],
    }
    token = {"name": "token", "secret": {"secretName": task.name, "defaultMode": 0o440}}
    return {
        "metadata": {"name": task.name, "namespace": frame.namespace, "labels": labels},
        "spec": {"restartPolicy": "Never", "containers": [worker], "volumes": [token]},
    }


def _milli(cores: float) -> str:
    """Write cores as the cluster counts them, in thousandths; less than one would be none at all."""
    return f"{max(1, math.ceil(round(cores * 1000, 6)))}m"


def _tolerate(spec: Manifest) -> None:
    """Let a pod go soon from a node that does not answer; the cluster's default is five minutes."""
    given = list(spec.get("tolerations") or [])
    named = {item.get("key") for item in given}
    if None in named:  # one that tolerates every taint
        return
    spec["tolerations"] = given + [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _LOST_NODE_SECONDS}
        for key in _NODE_TAINTS
        if key not in named
    ]


def _avoid(spec: Manifest, nodes: Sequence[str]) -> None:
    """Prefer other nodes than those on which a pod was just lost.

    A preference, not a rule: where there is no other node, the pod waits on the one there is, until it is back.
    """
    if not nodes:
        return
    other = {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": list(nodes)}
    preferred = {"weight": 100, "preference": {"matchExpressions": [other]}}
    affinity = spec["affinity"] = dict(spec.get("affinity") or {})
    of_node = affinity["nodeAffinity"] = dict(affinity.get("nodeAffinity") or {})
    name = "preferredDuringSchedulingIgnoredDuringExecution"
    of_node[name] = [*(of_node.get(name) or []), preferred]


def _promised(task: PodTask) -> list[str]:
    """Return what the worker is to offer: all of it, or, bound to a job, no more than that job needs.

    To ask an agent for its version takes seconds, which a job of another agent need not wait for.
    """
    names = (name for name in task.offered if task.key is None or name in task.capabilities)
    return [name for name in names if name != STDIN]  # an image of an older release cannot feed a job
