"""Nodes and the scheduler: which node takes a pod, and what it says when none does, in the words of the real one."""

import re
from dataclasses import dataclass, field

UNREACHABLE = "node.kubernetes.io/unreachable"
_UNITS = {"": 1, "m": 0.001, "k": 1e3, "Ki": 2**10, "M": 1e6, "Mi": 2**20, "G": 1e9, "Gi": 2**30}


def amount(text):
    number, unit = re.fullmatch(r"([\d.]+)(\w*)", str(text)).groups()
    return float(number) * _UNITS[unit]


@dataclass
class Node:
    """What a node offers to pods; ``taints`` are (key, effect)."""

    name: str
    cpu: float = 64.0
    memory: float = 256 * 2**30
    pods: int = 1000
    labels: dict = field(default_factory=lambda: {"kubernetes.io/os": "linux"})
    taints: set = field(default_factory=set)
    lost: bool = False
    """Its kubelet and its network are gone; the cluster does not know yet."""

    def __post_init__(self):
        self.labels = {"kubernetes.io/hostname": self.name, **self.labels}


def requests(pod):
    return {name: amount(value) for name, value in pod["spec"]["containers"][0]["resources"]["requests"].items()}


def schedule(pod, nodes, pods):
    """Return the node's name, or the message of a pod that no node takes."""
    asked = requests(pod)
    found, reasons, helpless = [], [], 0
    for node in nodes:
        there = [other for other in pods if other["spec"].get("nodeName") == node.name and is_active(other)]
        why, for_good = _obstacle(pod, asked, node, there)
        if why:
            reasons += why
            helpless += for_good
        else:
            found.append((-_preference(pod, node), node.name))
    if found:
        return min(found)[1], None
    return None, _message(len(nodes), reasons, helpless)


def is_active(pod):
    return pod["status"].get("phase") in ("Pending", "Running")


def _obstacle(pod, asked, node, there):
    """Return why a node does not take a pod, and whether that would be so on the empty node."""
    spec = pod["spec"]
    tolerated = {item.get("key") for item in spec.get("tolerations", []) if item.get("effect") != "NoExecute"}
    if foreign := [key for key, effect in node.taints if effect == "NoSchedule" and key not in tolerated]:
        return [f"node(s) had untolerated taint {{{foreign[0]}: }}"], True
    if not spec.get("nodeSelector", {}).items() <= node.labels.items():
        return ["node(s) didn't match Pod's node affinity/selector"], True
    if len(there) >= node.pods:
        return ["Too many pods"], False
    most = {"cpu": node.cpu, "memory": node.memory}
    used = [requests(other) for other in there]
    short = [name for name in asked if asked[name] > most.get(name, 0) - sum(each.get(name, 0) for each in used)]
    return [f"Insufficient {name}" for name in short], any(asked[name] > most.get(name, 0) for name in short)


def _preference(pod, node):
    preferred = pod["spec"].get("affinity", {}).get("nodeAffinity", {})
    total = 0
    for term in preferred.get("preferredDuringSchedulingIgnoredDuringExecution", []):
        rules = term["preference"]["matchExpressions"]
        total += term["weight"] * all(_meets(rule, node.labels.get(rule["key"])) for rule in rules)
    return total


def _meets(rule, value):
    return (value in rule["values"]) is (rule["operator"] == "In")


def _message(count, reasons, helpless):
    kinds = sorted({f"{reasons.count(reason)} {reason}" for reason in reasons})
    ends = [f"{count - helpless} No preemption victims found for incoming pod"] if helpless < count else []
    ends += [f"{helpless} Preemption is not helpful for scheduling"] if helpless else []
    whole = f"0/{count} nodes are available"
    return f"{whole}: {', '.join(kinds)}. preemption: {whole}: {', '.join(ends)}."
