"""What the answer to a pod's or a Secret's creation means for its job; pure."""

from __future__ import annotations

import re
from decimal import Decimal

from app.spawner.backends.kubernetes import ClusterRefused

_QUOTA = re.compile(r"exceeded quota: .*?requested: (.*?), used: .*?, limited: (.*)", re.DOTALL)
_LIMIT_RANGE = re.compile(r"(minimum|maximum) \S+ usage per \w+ is |max limit to request ratio per \w+ is ")
_NOT_ALLOWED = re.compile(r'User "[^"]*" cannot ')
_NOT_YET = ("status unknown for quota", "error looking up service account")
"""The cluster does not know a new namespace or quota yet."""
_QUANTITY = re.compile(r"([+-]?[0-9.]+)(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?[0-9]+))?")
_SCALES = {"": Decimal(1), "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3")}
_SCALES |= {letter: Decimal(1000) ** power for power, letter in enumerate("kMGTPE", 1)}
_SCALES |= {f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", 1)}


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


def quantity(text: object) -> Decimal | None:
    """Return the number that a quantity of Kubernetes means: ``500m``, ``2Gi``, ``1e3``. None for another text."""
    match = _QUANTITY.fullmatch(str(text).strip())
    if match is None or match[1].count(".") > 1 or not any(letter.isdigit() for letter in match[1]):
        return None
    exponent = min(int(match[3] or 0), 100)
    return Decimal(match[1]) * _SCALES[match[2] or ""] * Decimal(10) ** exponent
