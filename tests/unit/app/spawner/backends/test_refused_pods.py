"""What the cluster's refusals mean; the texts are those of the API server's admission plugins."""

import pytest

from app.spawner.backends.kubernetes import ClusterRefused
from app.spawner.backends.refused_pods import of_refusal, quantity

QUOTA = "exceeded quota: q, requested: {}, used: {}, limited: {}"


@pytest.mark.parametrize(
    ("message", "found"),
    [
        (QUOTA.format("pods=1", "pods=4", "pods=1"), ("waits", "quota")),
        (QUOTA.format("pods=1", "pods=0", "pods=0"), ("failed", "quota_too_small")),
        (QUOTA.format("requests.cpu=1500m", "requests.cpu=0", "requests.cpu=1"), ("failed", "quota_too_small")),
        (QUOTA.format("requests.cpu=1", "requests.cpu=500m", "requests.cpu=1"), ("waits", "quota")),
        (
            QUOTA.format("cpu=1,limits.memory=2Gi", "cpu=0,limits.memory=1Gi", "cpu=4,limits.memory=2048Mi"),
            ("waits", "quota"),
        ),
        (QUOTA.format("cpu=1,memory=2Gi", "cpu=0,memory=0", "cpu=4,memory=2G"), ("failed", "quota_too_small")),
        ("exceeded quota: in words that nobody knows", ("waits", "quota")),
        ("failed quota: q: must specify limits.cpu for: worker", ("failed", "quota_too_small")),
        ("status unknown for quota: q, resources: pods", ("waits", "")),
        ('error looking up service account ns/default: serviceaccount "default" not found', ("waits", "")),
        ("maximum cpu usage per Container is 2, but limit is 4", ("failed", "limit_range")),
        ("[maximum memory usage per Pod is 1Gi, but limit is 2147483648]", ("failed", "limit_range")),
        ("minimum cpu usage per Container is 100m, but request is 50m", ("failed", "limit_range")),
        ("cpu max limit to request ratio per Container is 2, but provided ratio is 4", ("failed", "limit_range")),
        ('violates PodSecurity "restricted:latest": privileged', ("failed", "pod_security")),
        ('User "system:serviceaccount:ado:x" cannot create resource "pods"', ("waits", "cluster_refused")),
        ("unable to create new content in namespace n because it is being terminated", ("waits", "cluster_refused")),
        ("no PriorityClass with name high was found", ("waits", "admission")),
        ('admission webhook "rules.example" denied the request: no', ("waits", "admission")),
    ],
)
def test_a_forbidden_pod_waits_for_a_quota_and_fails_for_a_rule(message, found):
    assert of_refusal(ClusterRefused(403, "Forbidden", f'pods "p" is forbidden: {message}')) == found


@pytest.mark.parametrize(
    ("status", "found"),
    [
        (400, ("failed", "pod_invalid")),
        (422, ("failed", "pod_invalid")),
        (401, ("waits", "cluster_refused")),
        (404, ("waits", "cluster_refused")),
        (409, ("waits", "")),
        (429, ("waits", "")),
        (500, ("waits", "")),
        (503, ("waits", "")),
    ],
)
def test_other_refusals_have_their_diagnosis(status, found):
    assert of_refusal(ClusterRefused(status, "", "text")) == found


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", 1), ("500m", 0.5), ("2Gi", 2**31), ("1e3", 1000), ("1.5k", 1500), ("3n", 3e-9), ("1e999999999", 1e100),
     ("much", None), ("", None), ("1..2", None), (".", None)],
)  # fmt: skip
def test_quantities_of_the_cluster_are_parsed(text, number):
    found = quantity(text)
    assert (found if found is None else float(found)) == number
