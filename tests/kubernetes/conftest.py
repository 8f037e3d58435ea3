"""A cluster for the tests: the one that KUBECONFIG names, or one of the tests' own on loopback."""

import os

import pytest
from support.kube.bench import Bench
from support.program import Cluster

GIVEN = [os.environ.get(name, "") for name in ("KUBECONFIG", "ADO_TEST_IMAGE", "ADO_PUBLIC_URL")]


@pytest.fixture
def bench(dsn, home):
    """Two replicas, a namespace, and spawners that make pods in it."""
    made = Bench(Cluster(dsn, home), home, *(GIVEN if all(GIVEN) else ()))
    try:
        yield made.start()
    finally:
        made.close()
