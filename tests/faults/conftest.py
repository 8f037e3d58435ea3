"""The seeds of the fault tests: ``ADO_FAULT_SEEDS=3,17`` or ``1-20``; by default a few."""

import os

DEFAULT_SEEDS = "1-2"


def seeds():
    """Return the seeds to run."""
    found = []
    for part in os.environ.get("ADO_FAULT_SEEDS", DEFAULT_SEEDS).split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def pytest_generate_tests(metafunc):
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", seeds())
