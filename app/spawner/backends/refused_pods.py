"""What the answer to a pod's or a Secret's creation means for its job; pure."""

from __future__ import annotations

import re

from app.spawner.backends.kubernetes import ClusterRefused
from app.spawner.backends.quantity import quantity

_QUOTA = re.compile(r"exceeded quota: .*?requested: (.*?), used: .*?, limited: (.*)", re.DOTALL)
_LIMIT_RANGE = re.compile(r"(minimum|maximum) \S+ usage per \w+ is |max limit to request ratio per \w+ is ")
_NOT_ALLOWED = re.compile(r'User "[^"]*" cannot ')
_NOT_YET = ("status unknown for quota", "error looking up service account")
"""The cluster does not know a new namespace or quota yet."""


def of_refusal(error: ClusterRefused) -> tuple[str, str]:
    """Return the pod's fate, ``waits`` or ``failed``, and the reason; the reason is empty if it passes by itself."""
    if error.status in (400, 422):
        return "failed", "pod_invalid"
    if error.status == 403:
        return _forbidden(error.message)
    return "waits", "cluster_refused" if error.status in (401, 404) else ""


def _forbidden(message: str) -> tuple[str, str]:
    if "violates PodSecurity" in message:
        return "failed", "pod_security"
    if "exceeded quota" in message:
        return ("failed", "quota_too_small") if _exceeds_quota(message) else ("waits", "quota")
    if "failed quota" in message:  # the pod does not request a resource that the quota limits
        return "failed", "quota_too_small"
    if _LIMIT_RANGE.search(message):
        return "failed", "limit_range"
    if _NOT_ALLOWED.search(message) or "because it is being terminated" in message:
        return "waits", "cluster_refused"
    return "waits", "" if any(text in message for text in _NOT_YET) else "admission"


def _exceeds_quota(message: str) -> bool:
    match = _QUOTA.search(message)
    if match is None:
        return False
    requested, limits = _amounts(match[1]), _amounts(match[2])
    return any(
        (wanted := quantity(requested[name])) is not None
        and (limit := quantity(limits[name])) is not None
        and wanted > limit
        for name in requested.keys() & limits.keys()
    )


def _amounts(text: str) -> dict[str, str]:
    return dict(entry.strip().partition("=")[::2] for entry in text.split(","))
