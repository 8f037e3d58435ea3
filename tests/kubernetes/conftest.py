"""A cluster for the tests: the one that KUBECONFIG names, or one of the tests' own on loopback."""

import os

import pytest
from support.kube.bench import SLOW_LEASE, Bench
from support.program import Cluster

GIVEN = [os.environ.get(name, "") for name in ("KUBECONFIG", "ADO_TEST_IMAGE", "ADO_PUBLIC_URL")]


def opened(dsn, home, given, **env):
    made = Bench(Cluster(dsn, home, env=env), home, *given)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def bench(dsn, home):
    """Two replicas, a namespace, and spawners that make pods in it."""
    for made in opened(dsn, home, GIVEN if all(GIVEN) else ()):
        yield made.start()


@pytest.fixture
def slow_lease(dsn, home):
    """The same, with leases so long that no test lives to see one end."""
    for made in opened(dsn, home, GIVEN if all(GIVEN) else (), **SLOW_LEASE):
        yield made.start()


@pytest.fixture
def fake(dsn, home):
    """The tests' own cluster, whatever is given."""
    for made in opened(dsn, home, ()):
        yield made.start()


@pytest.fixture
def empty(dsn, home):
    """The tests' own cluster, whose pods run nothing, and no replica."""
    for made in opened(dsn, home, ()):
        made.fake.kubelet.processes = False
        yield made
