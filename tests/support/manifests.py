"""What a cluster would refuse or quietly do wrong with manifests, besides their schema: names, quantities, enums,
references, selectors, ports, Pod Security. Pure: objects in, sentences out.
"""

import ipaddress
import re
from decimal import Decimal

from support.kube.addresses import block_faults

LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
SUBDOMAIN = rf"{LABEL}(\.{LABEL})*"
PORT_NAME = r"(?=.{1,15}$)(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*"
LABEL_VALUE = r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?"
LABEL_KEY = rf"({SUBDOMAIN}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?"
QUANTITY = r"(\d+(?:\.\d+)?)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?"
SCALES = {"": Decimal(1), "m": Decimal("0.001")}
SCALES |= {letter: Decimal(1000) ** power for power, letter in enumerate("kMGTPE", 1)}
SCALES |= {f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", 1)}
ENUMS = {
    "protocol": {"TCP", "UDP", "SCTP"},
    "pathType": {"Prefix", "Exact", "ImplementationSpecific"},
    "whenUnsatisfiable": {"ScheduleAnyway", "DoNotSchedule"},
    "operator": {"In", "NotIn", "Exists", "DoesNotExist"},
    "imagePullPolicy": {"Always", "IfNotPresent", "Never"},
    "restartPolicy": {"Always", "OnFailure", "Never"},
    "effect": {"NoSchedule", "PreferNoSchedule", "NoExecute"},
    "dnsPolicy": {"ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"},
    "terminationMessagePolicy": {"File", "FallbackToLogsOnError"},
    "sessionAffinity": {"None", "ClientIP"},
}
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
POSITIVE = {"activeDeadlineSeconds", "ttlSecondsAfterFinished", "terminationGracePeriodSeconds", "replicas", "maxSkew"}
POSITIVE |= {"backoffLimit", "periodSeconds", "timeoutSeconds", "failureThreshold", "tolerationSeconds"}
PORTS = {"port", "containerPort", "targetPort", "endPort", "nodePort"}
KEY = r"[-._a-zA-Z0-9]{1,253}"
VERBS = {"create", "delete", "get", "list", "watch", "patch", "update", "deletecollection"}


def problems(objects, *, outside=(), pods_outside=()):
    """Return what is wrong with a set of objects, a sentence each.

    ``outside`` are objects that the operator brings, as (kind, namespace, name, keys); ``pods_outside`` the labels of
    pods that something else makes, as (namespace, labels).
    """
    found = []
    for item in objects:
        where = f"{item['kind']} {item['metadata']['name']}"
        found += [f"{where}: {text}" for text in _values(item)]
        if pod := pod_of(item):
            found += [f"{where}: {text}" for text in _pod(pod)]
            found += [f"{where}: {text}" for text in _references(item, pod, objects, outside)]
        found += [f"{where}: {text}" for text in _selectors(item, objects, pods_outside)]
        found += [f"{where}: {text}" for text in _rules(item, objects)]
    return found


def pod_of(item):
    """Return the pod's spec in an object, if it has one."""
    if item["kind"] in ("Deployment", "Job"):
        return item["spec"]["template"]["spec"]
    return item["spec"] if item["kind"] == "Pod" else None


def pod_labels(item):
    """Return the labels of the pods that an object makes."""
    source = item if item["kind"] == "Pod" else item["spec"]["template"]
    return source["metadata"].get("labels", {})


def containers_of(pod):
    """Return every container of a pod, those that run first included."""
    return [*pod.get("initContainers", []), *pod["containers"]]


def quantity(text):
    """Return the number that a quantity means, or None when it means none."""
    match = re.fullmatch(QUANTITY, str(text))
    return Decimal(match[1]) * SCALES[match[2] or ""] if match else None


def _walk(value, path=()):
    yield path, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _walk(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _walk(inner, (*path, index))


def _values(item):
    """Names, labels, quantities and enums in any place."""
    name = item["metadata"]["name"]
    pattern = LABEL if item["kind"] in ("Service", "Namespace") else SUBDOMAIN
    longest = 63 if item["kind"] in ("Job", "Service", "Namespace") else 253  # a Job's name is a label of its pods
    if not re.fullmatch(pattern, name) or len(name) > longest:
        yield f"{name!r} is no name"
    for key in (*item.get("data", {}), *item.get("stringData", {})):
        if not re.fullmatch(KEY, key):
            yield f"{key!r} is no key"
    for path, value in _walk(item):
        last = path[-1] if path else None
        if last in ENUMS and isinstance(value, str) and value not in ENUMS[last]:
            yield f"{last} cannot be {value!r}"
        if last in ("labels", "matchLabels") and isinstance(value, dict):
            yield from (f"{k}={v} is no label" for k, v in value.items() if not _is_label(k, v))
        if last in ("requests", "limits", "hard") and isinstance(value, dict):
            yield from (f"{k}: {v!r} is no quantity" for k, v in value.items() if quantity(v) is None)
        if last == "sizeLimit" and quantity(value) is None:
            yield f"{value!r} is no quantity"
        if last == "annotations" and isinstance(value, dict):
            wrong = (k for k, v in value.items() if not re.fullmatch(LABEL_KEY, k) or not isinstance(v, str))
            yield from (f"{k} is no annotation" for k in wrong)
        if last in PORTS and isinstance(value, int) and not 1 <= value <= 65535:
            yield f"{last} cannot be {value}"
        if last in POSITIVE and (not isinstance(value, int) or value < 0):
            yield f"{last} cannot be {value!r}"
        if last == "host" and not re.fullmatch(rf"(\*\.)?{SUBDOMAIN}", str(value)):
            yield f"{value!r} is no host name"
        if last == "policyTypes" and not set(value) <= {"Ingress", "Egress"}:
            yield f"policyTypes cannot be {value!r}"


def _is_label(key, value):
    return re.fullmatch(LABEL_KEY, key) and isinstance(value, str) and re.fullmatch(LABEL_VALUE, value)


def _pod(pod):
    """What Pod Security *restricted* refuses, and what ado's own rules ask of a pod."""
    security = pod.get("securityContext", {})
    for flag in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(flag):
            yield f"{flag} is not restricted"
    if security.get("runAsNonRoot") is not True or not security.get("runAsUser"):
        yield "it may run as root"
    if security.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "it has no seccomp profile"
    if pod.get("enableServiceLinks") is not False:
        yield "the variables of Services may be taken for settings: enableServiceLinks must be false"
    if "automountServiceAccountToken" not in pod:
        yield "automountServiceAccountToken is not said"
    volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
    for volume in volumes.values():
        if not volume.keys() - {"name"} <= VOLUMES:
            yield f"volume {volume['name']} is of a kind that is not restricted"
    names = [container["name"] for container in containers_of(pod)]
    if len(set(names)) != len(names):
        yield "two containers have one name"
    if len(volumes) != len(pod.get("volumes", [])) or not all(re.fullmatch(LABEL, name) for name in volumes):
        yield "its volumes need names of their own"
    for container in containers_of(pod):
        yield from (f"container {container['name']}: {text}" for text in _container(container, volumes))
    needed = grace_needed(pod)
    if pod.get("terminationGracePeriodSeconds", 30) < needed:
        yield f"it is killed before it has ended: it needs {needed} s"


def grace_needed(pod):
    """Return how long the slowest preStop sleeps; a caller adds what its program needs."""
    hooks = [container.get("lifecycle", {}).get("preStop", {}) for container in pod["containers"]]
    commands = [hook["exec"]["command"] for hook in hooks if "exec" in hook]
    return max([int(command[1]) for command in commands if command[0] == "sleep"], default=0)


def _container(container, volumes):
    security = container.get("securityContext", {})
    if not re.fullmatch(LABEL, container["name"]):
        yield "its name is none"
    if security.get("allowPrivilegeEscalation") is not False:
        yield "it may gain privileges"
    if security.get("readOnlyRootFilesystem") is not True:
        yield "its root can be written"
    capabilities = security.get("capabilities", {})
    if capabilities.get("drop") != ["ALL"] or capabilities.get("add"):
        yield "it keeps capabilities"
    if security.get("privileged") or security.get("runAsUser") == 0:
        yield "it is privileged"
    yield from _resources(container.get("resources", {}))
    _, _, tag = container["image"].rpartition("/")[2].partition(":")
    if (not tag and "@sha256:" not in container["image"]) or tag == "latest":
        yield f"its image {container['image']} is not pinned"
    names = {port.get("name") for port in container.get("ports", [])}
    numbers = {port["containerPort"] for port in container.get("ports", [])}
    yield from (f"{name!r} is no port name" for name in names if not name or not re.fullmatch(PORT_NAME, name))
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = container.get(kind, {}).get("httpGet")
        if asked and asked["port"] not in names | numbers:
            yield f"{kind} asks port {asked['port']}, which it has not"
    for variable in container.get("env", []):
        if "=" in variable["name"] or not variable["name"].isprintable() or not variable["name"]:
            yield f"{variable['name']!r} is no variable"
    paths = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
    if len(set(paths)) != len(paths) or any(":" in path for path in paths):
        yield "its mount paths must be unique"
    for mount in container.get("volumeMounts", []):
        if mount["name"] not in volumes:
            yield f"it mounts {mount['name']}, which there is not"


def _resources(resources):
    requests, limits = resources.get("requests", {}), resources.get("limits", {})
    if not {"cpu", "memory"} <= requests.keys() or "memory" not in limits:
        yield "it must request CPU and memory, and limit memory"
    for name in requests.keys() & limits.keys():
        asked, most = quantity(requests[name]), quantity(limits[name])
        if asked is not None and most is not None and asked > most:
            yield f"it requests more {name} than its limit"


def _references(item, pod, objects, outside):
    """ConfigMaps, Secrets and accounts that a pod needs."""
    namespace = item["metadata"]["namespace"]
    known = {
        (other["kind"], other["metadata"].get("namespace"), other["metadata"]["name"]): set(other.get("data", {}))
        for other in objects
    }
    known |= {(kind, space, name): set(keys) for kind, space, name, keys in outside}
    wanted = []
    for container in containers_of(pod):
        wanted += [("ConfigMap", source["configMapRef"]["name"], None) for source in container.get("envFrom", [])]
        for variable in container.get("env", []):
            if source := variable.get("valueFrom", {}).get("secretKeyRef"):
                wanted.append(("Secret", source["name"], source["key"]))
    wanted += [
        ("ConfigMap", volume["configMap"]["name"], None) for volume in pod.get("volumes", []) if "configMap" in volume
    ]
    wanted += [("ServiceAccount", pod["serviceAccountName"], None)] if "serviceAccountName" in pod else []
    for kind, name, key in wanted:
        keys = known.get((kind, namespace, name))
        if keys is None:
            yield f"it needs {kind} {name}, which there is not"
        elif key is not None and key not in keys:
            yield f"it needs {key} of {kind} {name}, which there is not"


def _selectors(item, objects, pods_outside):
    """A selector that selects nothing is a mistake."""
    pods = [(other["metadata"].get("namespace"), pod_labels(other), other) for other in objects if pod_of(other)]
    pods += [(space, labels, None) for space, labels in pods_outside]
    namespace = item["metadata"].get("namespace")
    here = [labels for space, labels, _ in pods if space == namespace]
    spec = item.get("spec", {})
    selectors = []
    if item["kind"] == "Service":
        selectors = [{"matchLabels": spec["selector"]}]
    elif item["kind"] in ("PodDisruptionBudget", "Deployment"):
        selectors = [spec["selector"]]
    elif item["kind"] == "NetworkPolicy":
        selectors = [spec["podSelector"]]
    if item["kind"] == "Deployment":
        spread = spec["template"]["spec"].get("topologySpreadConstraints", [])
        selectors += [constraint["labelSelector"] for constraint in spread]
        here = [pod_labels(item)]
    for selector in selectors:
        if not any(selects(selector, labels) for labels in here):
            yield f"its selector {selector} selects nothing"


def selects(selector, labels):
    """Return whether a label selector selects a pod with these labels."""
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    return wanted and all(
        {"In": labels.get(rule["key"]) in rule.get("values", []), "Exists": rule["key"] in labels}[rule["operator"]]
        for rule in selector.get("matchExpressions", [])
    )


def _ports(objects, namespace, selector):
    """Return the names and numbers of the ports of the pods that a selector selects."""
    chosen = [
        pod_of(other)
        for other in objects
        if pod_of(other)
        and other["metadata"].get("namespace") == namespace
        and selector.items() <= pod_labels(other).items()
    ]
    ports = [port for pod in chosen for container in pod["containers"] for port in container.get("ports", [])]
    return {port.get("name") for port in ports} | {port["containerPort"] for port in ports}


def _rules(item, objects):
    """What is particular to a kind."""
    namespace, spec = item["metadata"].get("namespace"), item.get("spec", {})
    if item["kind"] == "Service":
        there = _ports(objects, namespace, spec["selector"])
        for port in spec["ports"]:
            if port.get("targetPort", port["port"]) not in there:
                yield f"port {port['port']} leads to {port.get('targetPort')}, which no container has"
    if item["kind"] == "Ingress":
        services = {other["metadata"]["name"]: other for other in objects if other["kind"] == "Service"}
        for _, value in _walk(spec):
            if isinstance(value, dict) and "service" in value:
                yield from _ingress_backend(value["service"], services)
    if item["kind"] == "Deployment":
        rolling = spec.get("strategy", {}).get("rollingUpdate", {})
        if rolling.get("maxUnavailable", 1) in (0, "0%") and rolling.get("maxSurge", 1) in (0, "0%"):
            yield "maxUnavailable may not be 0 when maxSurge is 0"
    if item["kind"] == "Job" and spec["template"]["spec"].get("restartPolicy") not in ("OnFailure", "Never"):
        yield "a Job's pod must have restartPolicy OnFailure or Never"
    if item["kind"] == "Role":
        asked = {verb for rule in item["rules"] for verb in rule["verbs"]}
        yield from (f"{verb!r} is no verb" for verb in asked - VERBS)
    if item["kind"] == "RoleBinding":
        names = {(other["kind"], other["metadata"].get("namespace"), other["metadata"]["name"]) for other in objects}
        wanted = [(subject["kind"], subject["namespace"], subject["name"]) for subject in item["subjects"]]
        wanted.append((item["roleRef"]["kind"], namespace, item["roleRef"]["name"]))
        yield from (
            f"it binds {kind} {name}, which there is not"
            for kind, space, name in wanted
            if (kind, space, name) not in names
        )
    if item["kind"] == "NetworkPolicy":
        for _, value in _walk(spec):
            if isinstance(value, dict) and "cidr" in value:
                yield from block_faults(value)


def _ingress_backend(wanted, services):
    service = services.get(wanted["name"])
    if service is None:
        yield f"it leads to Service {wanted['name']}, which there is not"
    elif not any(
        wanted["port"].items() <= {"name": p.get("name"), "number": p["port"]}.items() for p in service["spec"]["ports"]
    ):
        yield f"it leads to port {wanted['port']}, which Service {wanted['name']} has not"


def reaches(policies, labels, namespaces, target, port):
    """Return whether egress policies let a pod with these labels reach a target.

    ``target`` is an address, or (namespace, labels) of a pod; ``namespaces`` are the labels of each namespace.
    """
    chosen = [policy["spec"] for policy in policies if "Egress" in policy["spec"]["policyTypes"]]
    chosen = [spec for spec in chosen if selects(spec["podSelector"], labels)]
    rules = [rule for spec in chosen for rule in spec.get("egress", [])]
    return not chosen or any(
        _fits(rule.get("ports"), port) and _peers(rule.get("to"), target, namespaces) for rule in rules
    )


def _fits(ports, port):
    return ports is None or any((item.get("protocol", "TCP"), item["port"]) == port for item in ports)


def _peers(peers, target, namespaces):
    if peers is None:
        return True
    return any(_peer(peer, target, namespaces) for peer in peers)


def _peer(peer, target, namespaces):
    if isinstance(target, str):
        if "ipBlock" not in peer:
            return False
        address, block = ipaddress.ip_address(target), ipaddress.ip_network(peer["ipBlock"]["cidr"])
        inside = [ipaddress.ip_network(text) for text in peer["ipBlock"].get("except", [])]
        return address in block and not any(address in network for network in inside)
    namespace, labels = target
    return (
        "ipBlock" not in peer
        and selects(peer.get("namespaceSelector", {}), namespaces[namespace])
        and selects(peer.get("podSelector", {}), labels)
    )
