"""How long and from where to fuzz: ``ADO_FUZZ_SECONDS`` is shared by the targets, ``ADO_FUZZ_SEED`` repeats a run."""

import os
import time

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from support.program import PATIENT, Cluster

TARGETS = 4
DEFAULT_SECONDS = 60
_COUNTS = []


def total_seconds():
    """Return how long all targets run together."""
    return float(os.environ.get("ADO_FUZZ_SECONDS", DEFAULT_SECONDS))


class Fuzzer:
    """Runs a check on generated inputs until its share of the time is used up."""

    def __init__(self, name, seed, seconds):
        self._name = name
        self.seed = seed
        self.seconds = seconds

    def run(self, strategy, check, *, batch, shrink):
        """Run ``check`` on inputs of ``strategy``, ``batch`` of them from one seed.

        Each batch has a seed of its own, so a failure names the seed that repeats it. ``shrink`` is for cheap checks.
        """
        deadline = time.monotonic() + self.seconds
        count = rounds = 0

        def one(value):
            nonlocal count
            count += 1
            check(value)

        while rounds == 0 or time.monotonic() < deadline:
            seed = self.seed + rounds
            phases = [Phase.generate, Phase.shrink] if shrink else [Phase.generate]
            bounded = settings(
                max_examples=batch, deadline=None, database=None, phases=phases, suppress_health_check=list(HealthCheck)
            )
            try:
                hypothesis.seed(seed)(bounded(given(strategy)(one)))()
            except BaseException as error:
                error.add_note(f"repeat with ADO_FUZZ_SEED={seed}")
                raise
            rounds += 1
        _COUNTS.append((self._name, count))


@pytest.fixture
def cluster(dsn, home):
    """Two replicas over a database of the test's own, in which no worker is lost."""
    made = Cluster(dsn, home, env=PATIENT)
    try:
        yield made.add_replicas(2)
    finally:
        made.close()


@pytest.fixture
def fuzzer(request):
    return Fuzzer(request.node.name, int(os.environ.get("ADO_FUZZ_SEED", "1")), total_seconds() / TARGETS)


def pytest_collection_modifyitems(items):
    for item in items:
        if "fuzzer" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(300 + 2 * total_seconds()))


def pytest_terminal_summary(terminalreporter):
    for name, count in _COUNTS:
        terminalreporter.write_line(f"{name}: {count} inputs")
