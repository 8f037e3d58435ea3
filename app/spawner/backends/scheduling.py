"""Whether a pod that fits no node may fit later, read from the scheduler's message; pure.

The message counts the nodes by what keeps the pod from each, then says for how many of them it would help to remove
other pods. A node that is too small, whatever runs there, is among those where "Preemption is not helpful"; one that is
merely full is among the others. So a pod waits for room as long as one node is full, away or not described, and can
never fit when every node is ruled out for good. In doubt it waits: schedulers before Kubernetes 1.30 do not say that a
node is too small.
"""

from __future__ import annotations

import re

_NODES = re.compile(r"0/(\d+) nodes are available")
_REASON = re.compile(r"(?:^|[:,.]\s+)\d+ (.+?)(?=, \d+ |[.,] |\.?$)")
_UNHELPFUL = re.compile(r"(\d+) Preemption is not helpful")
_FULL = ("Insufficient ", "Too many pods")
_AWAY = ("node.kubernetes.io/", "were unschedulable", "were not ready", "untolerated taint(s)")


def may_fit_later(message: str) -> bool:
    """Return whether some node could take the pod once others have ended or a node is back."""
    cause, _, preemption = message.partition("preemption:")
    nodes = _NODES.search(cause)
    if nodes is None or nodes[1] == "0":
        return True
    reasons = _REASON.findall(cause[nodes.end() :])
    if not reasons or any(word in reason for reason in reasons for word in _AWAY):
        return True
    unhelpful = _UNHELPFUL.search(preemption)
    if unhelpful is not None:
        return int(unhelpful[1]) < int(nodes[1])
    return any(word in reason for reason in reasons for word in _FULL)
