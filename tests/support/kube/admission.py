"""What the API refuses: pods that are no pods or not restricted, more than a quota, calls without a right."""

import re

from support.kube.scheduler import amount as number_of
from support.kube.scheduler import is_active, requests
from support.kube.store import ApiError

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUANTITY = re.compile(r"\d+(\.\d+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?")


def admit(kind, given, store, namespace, quotas, limits=()):
    """Raise what a real server would say of a new object.

    ``quotas`` are hard limits by resource (``pods``, ``requests.cpu`` …), ``limits`` the maxima of a LimitRange.
    """
    name = given.get("metadata", {}).get("name", "")
    faults = [] if _NAME.fullmatch(name) and len(name) <= 253 else [f"metadata.name: Invalid value: {name!r}"]
    if kind == "pods":
        faults += list(_faults(given))
    if faults:
        raise ApiError(422, "Invalid", f'{kind} "{name}" is invalid: {"; ".join(faults)}')
    if kind == "pods" and (violations := list(_violations(given["spec"]))):
        said = ", ".join(violations)
        raise ApiError(
            403, "Forbidden", f'pods "{name}" is forbidden: violates PodSecurity "restricted:latest": {said}'
        )
    if kind == "pods":
        for limited, most in dict(limits).items():
            asked = given["spec"]["containers"][0]["resources"]["limits"][limited]
            if number_of(asked) > number_of(most):
                said = f"maximum {limited} usage per Container is {most}, but limit is {asked}"
                raise ApiError(403, "Forbidden", f'pods "{name}" is forbidden: {said}')
    for limited, most in quotas.items():
        asked, used = _use(kind, limited, given, store, namespace)
        if asked and asked + used > number_of(most):
            said = f"requested: {limited}={asked:g}, used: {limited}={used:g}, limited: {limited}={most}"
            raise ApiError(403, "Forbidden", f'{kind} "{name}" is forbidden: exceeded quota: q, {said}')


def _use(kind, limited, given, store, namespace):
    """Return how much of a quota a new object takes, and how much is taken."""
    if limited.startswith("requests.") and kind == "pods":
        name = limited.removeprefix("requests.")
        there = [requests(item)[name] for item in store.list("pods", namespace)[0] if is_active(item)]
        return requests(given)[name], sum(there)
    return (1, len(store.list(kind, namespace)[0])) if limited == kind else (0, 0)


def _faults(pod):
    for container in pod["spec"].get("containers") or []:
        if not container.get("image"):
            yield "spec.containers[0].image: Required value"
        if container.get("imagePullPolicy", "Always") not in ("Always", "Never", "IfNotPresent"):
            yield "spec.containers[0].imagePullPolicy: Unsupported value"
        for amounts in container.get("resources", {}).values():
            for name, amount in amounts.items():
                if not _QUANTITY.fullmatch(str(amount)):
                    yield f"spec.containers[0].resources.{name}: Invalid value: {amount!r}"
    if not pod["spec"].get("containers"):
        yield "spec.containers: Required value"
    if pod["spec"].get("restartPolicy", "Always") not in ("Always", "Never", "OnFailure"):
        yield "spec.restartPolicy: Unsupported value"


def _violations(spec):
    of_pod = spec.get("securityContext", {})
    if spec.get("hostNetwork") or spec.get("hostPID"):
        yield "host namespaces"
    if any("hostPath" in volume for volume in spec.get("volumes", [])):
        yield "hostPath volumes"
    for container in spec["containers"]:
        own = container.get("securityContext", {})
        who = f'(container "{container["name"]}" must set securityContext.'
        if own.get("privileged"):
            yield f"privileged {who}privileged=false)"
        if own.get("allowPrivilegeEscalation") is not False:
            yield f"allowPrivilegeEscalation != false {who}allowPrivilegeEscalation=false)"
        if own.get("capabilities", {}).get("drop") != ["ALL"]:
            yield f'unrestricted capabilities {who}capabilities.drop=["ALL"])'
        if not (own.get("runAsNonRoot") or of_pod.get("runAsNonRoot")):
            yield f"runAsNonRoot != true {who}runAsNonRoot=true)"
        profile = own.get("seccompProfile") or of_pod.get("seccompProfile") or {}
        if profile.get("type") not in ("RuntimeDefault", "Localhost"):
            yield f"seccompProfile {who}seccompProfile.type)"
