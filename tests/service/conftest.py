"""A cluster of real processes: always two replicas."""

import shutil

import pytest
from support.postgres import fast_directory
from support.program import Cluster


@pytest.fixture
def home():
    directory = fast_directory()
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def cluster(dsn, home):
    """Two replicas over a database of the test's own; workers are the test's to add."""
    made = Cluster(dsn, home)
    try:
        yield made.add_replicas(2)
    finally:
        made.close()
