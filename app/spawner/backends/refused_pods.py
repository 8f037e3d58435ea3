"""What the answer to a pod's or a Secret's creation means for its job; pure."""

from __future__ import annotations

import re

from app.spawner.backends.kubernetes import Refused
from app.spawner.backends.quantity import quantity

_QUOTA = re.compile(r"exceeded quota: .*?requested: (.*?), used: .*?, limited: (.*)", re.DOTALL)
_LIMIT_RANGE = re.compile(r"(minimum|maximum) \S+ usage per \w+ is |max limit to request ratio per \w+ is ")
_NOT_ALLOWED = re.compile(r'User "[^"]*" cannot ')
_NOT_YET = ("status unknown for quota", "error looking up service account")
"""The cluster has not caught up with a namespace or a quota that is new."""


def of_refusal(error: Refused) -> tuple[str, str]:
    """Return the pod's fate, ``waits`` or ``failed``, and the reason; it is empty for what passes by itself."""
    if error.status in (400, 422):
        return "failed", "pod_invalid"
    if error.status == 403:
        return _forbidden(error.message)
    return "waits", "cluster_refused" if error.status in (401, 404) else ""


def _forbidden(message: str) -> tuple[str, str]:
    if "violates PodSecurity" in message:
        return "failed", "pod_security"
    if "exceeded quota" in message:
        return ("failed", "quota_too_small") if _asks_for_more_than_all(message) else ("waits", "quota")
    if "failed quota" in message:  # the pod does not say how much it wants of something that the quota limits
        return "failed", "quota_too_small"
    if _LIMIT_RANGE.search(message):
        return "failed", "limit_range"
    if _NOT_ALLOWED.search(message) or "because it is being terminated" in message:
        return "waits", "cluster_refused"
    return "waits", "" if any(text in message for text in _NOT_YET) else "admission"


def _asks_for_more_than_all(message: str) -> bool:
    found = _QUOTA.search(message)
    if found is None:
        return False
    asked, most = _amounts(found[1]), _amounts(found[2])
    return any(
        (wanted := quantity(asked[name])) is not None and (limit := quantity(most[name])) is not None and wanted > limit
        for name in asked.keys() & most.keys()
    )


def _amounts(text: str) -> dict[str, str]:
    return dict(entry.strip().partition("=")[::2] for entry in text.split(","))
