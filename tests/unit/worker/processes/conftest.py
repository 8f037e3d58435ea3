"""What tests of processes share."""

import os

import pytest


@pytest.fixture
def marker():
    """A word that only the processes of this test carry."""
    return f"ado-keeper-{os.getpid()}-{id(object())}"
