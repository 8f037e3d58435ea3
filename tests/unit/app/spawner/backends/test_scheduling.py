"""Which of the scheduler's messages leave hope."""

import pytest

from app.spawner.backends.scheduling import may_fit_later

NOT_HELPFUL = "preemption: 0/{0} nodes are available: {0} Preemption is not helpful for scheduling."
NO_VICTIMS = "preemption: 0/{0} nodes are available: {0} No preemption victims found for incoming pod."


@pytest.mark.parametrize(
    "message",
    [
        "0/2 nodes are available: 2 Insufficient cpu. " + NO_VICTIMS.format(2),
        "0/2 nodes are available: 1 Insufficient cpu, 2 Insufficient memory. " + NO_VICTIMS.format(2),
        "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't match Pod's node affinity/selector. preemption: "
        "0/3 nodes are available: 1 No preemption victims found for incoming pod, 2 Preemption is not helpful for "
        "scheduling.",
        "0/1 nodes are available: 1 Too many pods. " + NO_VICTIMS.format(1),
        "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never.",
        "0/1 nodes are available: 1 Insufficient cpu.",
        "0/2 nodes are available: 2 node(s) had untolerated taint {node.kubernetes.io/unreachable: }. "
        + NOT_HELPFUL.format(2),
        "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s). " + NOT_HELPFUL.format(2),
        "0/2 nodes are available: 2 node(s) were unschedulable. " + NOT_HELPFUL.format(2),
        "no nodes available to schedule pods",
        "0/0 nodes are available: .",
        "running Reserve plugin: something new",
        "",
    ],
)
def test_a_pod_may_fit_later_on_a_full_absent_or_undescribed_node(message):
    assert may_fit_later(message)


@pytest.mark.parametrize(
    "message",
    [
        "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, " + NOT_HELPFUL.format(1),
        "0/12 nodes are available: 12 Insufficient nvidia.com/gpu. " + NOT_HELPFUL.format(12),
        "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. " + NOT_HELPFUL.format(1),
        "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
        "0/2 nodes are available: 2 node(s) had untolerated taint {gpu: true}. " + NOT_HELPFUL.format(2),
        "0/2 nodes are available: 1 Insufficient memory, 1 node(s) had untolerated taint {a: b}. "
        + NOT_HELPFUL.format(2),
    ],
)
def test_a_pod_never_fits_nodes_that_are_too_small_or_of_another_kind(message):
    assert not may_fit_later(message)
