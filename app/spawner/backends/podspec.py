"""The pod of a worker, put together from layers; pure.

From the bottom: ado's own pod (Pod Security *restricted*, no service account's token, a read-only root), the template's
``base``, its entry for each capability that the job needs, what the task sets (image, node selector). On top
is what ado depends on: names, labels, size, the ``ADO_*`` variables and the token. Layers are merged as the API
merges a strategic patch: maps by member, lists of named things by their name, other lists as a whole, null removes.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from app.core.capabilities import OF_RELEASE
from app.core.settings import SettingsError
from db.model import ResourceAmounts
from db.pods import PodAction

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
    """The settings that all pods of a spawner share."""

    namespace: str
    installation: str
    urls: Sequence[str]
    image: str
    gpu_resource: str
    stop_seconds: float
    template: Template
    cpu_limit: float = 0.0
    """Cores that every worker may use while others leave them free, if that is more than it requests."""

    @property
    def labels(self) -> dict[str, str]:
        """The labels of every pod of this installation."""
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
        template = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise SettingsError(f"the pod template is no YAML: {error}") from error
    if not isinstance(template, dict) or not template.keys() <= {"base", "capabilities"}:
        raise SettingsError("the pod template has two members: base, and capabilities by name")
    base, capabilities = template.get("base") or {}, template.get("capabilities") or {}
    if not all(isinstance(layer, dict) for layer in (base, capabilities, *capabilities.values())):
        raise SettingsError("the pod template's base and each of its capabilities must be a part of a pod")
    return Template(base, capabilities)


def merge(below: Any, above: Any) -> Any:
    """Merge one part of a pod over another."""
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


def pod_manifest(frame: PodFrame, action: PodAction) -> Manifest:
    """Return the pod of a decision. Raises SettingsError when it has no image."""
    layers = [frame.template.base]
    layers += [
        frame.template.capabilities[name] for name in sorted(action.capabilities & frame.template.capabilities.keys())
    ]
    layers += [_overrides(action.overrides), _own(frame, action)]
    manifest: Manifest = _builtin(frame)
    for layer in layers:
        manifest = merge(manifest, layer)
    _tolerate(manifest["spec"])
    _avoid(manifest["spec"], action.avoid)
    worker = next(item for item in manifest["spec"]["containers"] if item["name"] == "worker")
    if not worker.get("image"):
        raise SettingsError("pods have no image: set ADO_POD_IMAGE, or the worker's image in the pod template")
    least = frame.stop_seconds + GRACE_SECONDS
    if manifest["spec"]["terminationGracePeriodSeconds"] < least:
        raise SettingsError(f"the pod template's terminationGracePeriodSeconds must be {least:.0f} or more")
    return manifest


def secret_manifest(frame: PodFrame, action: PodAction, uid: str, token: str) -> Manifest:
    """Return the Secret with a pod's token; it goes when the pod goes."""
    owner = {"apiVersion": "v1", "kind": "Pod", "name": action.name, "uid": uid}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": action.name, "labels": frame.labels, "ownerReferences": [owner]},
        "immutable": True,
        "stringData": {"token": token},
    }


def samples(frame: PodFrame, offered: Sequence[str]) -> list[PodAction]:
    """Return an action for each layer alone and one for all of them, to check the template with."""
    names = sorted(frame.template.capabilities)
    sets = [frozenset[str](), *(frozenset({name}) for name in names), frozenset(names)]
    size = ResourceAmounts(1.0, 1024**3)
    return [
        PodAction("ado-task-1-0-d1", 1, (1, 0), wanted, tuple(offered), size, {}, "wanted", None, None)
        for wanted in sets
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


def _overrides(overrides: Mapping[str, Any]) -> Manifest:
    layer: Manifest = {}
    if selector := overrides.get("nodeSelector"):
        layer["nodeSelector"] = selector
    if image := overrides.get("image"):
        layer["containers"] = [{"name": "worker", "image": image}]
    return {"spec": layer}


def _own(frame: PodFrame, action: PodAction) -> Manifest:
    labels = {**frame.labels, "ado/decision": str(action.decision)}
    if action.key is not None:
        labels |= {"ado/task": f"task-{action.key[0]}", "ado/job": str(action.key[1])}
    size = {"cpu": _milli(action.resources.cpu), "memory": str(action.resources.memory)}
    if action.resources.gpu:
        size[frame.gpu_resource] = str(math.ceil(action.resources.gpu))
    most = {**size, "cpu": _milli(max(action.resources.cpu, frame.cpu_limit))}
    capabilities = _capabilities(action)
    variables = {
        "ADO_URL": ",".join(frame.urls),
        "ADO_TOKEN_FILE": f"{_TOKEN_DIRECTORY}/token",
        "ADO_WORKER_ID": action.name,
        "ADO_CAPABILITIES": ",".join(capabilities),
        "ADO_OPTIONAL_CAPABILITIES": ",".join(name for name in capabilities if name not in action.capabilities),
        "ADO_MAX_JOBS": "1",
        "ADO_WORK_DIR": "/work",
        "ADO_ISOLATED": "true",
        "ADO_CPU": f"{action.resources.cpu:g}",
        "ADO_MEMORY": str(action.resources.memory),
        "ADO_GPU": f"{action.resources.gpu:g}",
        "ADO_STOP_SECONDS": f"{frame.stop_seconds:g}",
        "ADO_GRACE_SECONDS": str(GRACE_SECONDS),
    }
    worker = {
        "name": "worker",
        "env": [{"name": name, "value": value} for name, value in variables.items()],
        "resources": {"requests": size, "limits": most},
        "volumeMounts": [{"name": "token", "mountPath": _TOKEN_DIRECTORY, "readOnly": True}],
    }
    token = {"name": "token", "secret": {"secretName": action.name, "defaultMode": 0o440}}
    return {
        "metadata": {"name": action.name, "namespace": frame.namespace, "labels": labels},
        "spec": {"restartPolicy": "Never", "containers": [worker], "volumes": [token]},
    }


def _milli(cores: float) -> str:
    """Write cores in thousandths, as the cluster counts them; at least one thousandth, because 0 means none."""
    return f"{max(1, math.ceil(round(cores * 1000, 6)))}m"


def _tolerate(spec: Manifest) -> None:
    """Have a pod leave a node that does not answer after 30 seconds; the cluster's default is five minutes."""
    tolerations = list(spec.get("tolerations") or [])
    keys = {item.get("key") for item in tolerations}
    if None in keys:  # a toleration without a key tolerates every taint
        return
    spec["tolerations"] = tolerations + [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _LOST_NODE_SECONDS}
        for key in _NODE_TAINTS
        if key not in keys
    ]


def _avoid(spec: Manifest, nodes: Sequence[str]) -> None:
    """Prefer other nodes than those on which a pod was just lost.

    This is a preference, not a rule: if there is no other node, the pod waits for that one to come back.
    """
    if not nodes:
        return
    other = {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": list(nodes)}
    preferred = {"weight": 100, "preference": {"matchExpressions": [other]}}
    affinity = spec["affinity"] = dict(spec.get("affinity") or {})
    of_node = affinity["nodeAffinity"] = dict(affinity.get("nodeAffinity") or {})
    name = "preferredDuringSchedulingIgnoredDuringExecution"
    of_node[name] = [*(of_node.get(name) or []), preferred]


def _capabilities(action: PodAction) -> list[str]:
    """Return what the worker offers: everything, or, if the pod is for a job, only what that job needs.

    Asking an agent for its version takes seconds, and a job of another agent need not wait for that.
    """
    names = (name for name in action.offered if action.key is None or name in action.capabilities)
    return [name for name in names if name not in OF_RELEASE]  # the image may be of another release
