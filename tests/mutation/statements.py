"""Finds the tests that run each statement, so that a mutant of one statement costs only these."""

import json
from collections import defaultdict
from pathlib import Path

import pytest


class Recorder:
    """A plugin of pytest that writes, for each statement, the tests that run it.

    Tests that run it themselves come before those whose fixtures do, because more of them look at what it does. Then
    the quickest come first.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._test = ""
        self._in_fixture = True
        self._used: dict[str, dict[str, bool]] = defaultdict(dict)
        self._seconds: dict[str, float] = defaultdict(float)

    def pytest_collection_finish(self) -> None:
        """Have each statement note the test that runs it."""
        from db.queries import Query

        original = Query.arguments

        def arguments(query, values):
            used = self._used[query.name]
            used[self._test] = used.get(self._test, True) and self._in_fixture
            return original(query, values)

        Query.arguments = arguments

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Note which test runs from here on."""
        self._test, self._in_fixture = nodeid, True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self) -> None:
        """Note that the fixtures of the test are done."""
        self._in_fixture = False

    def pytest_runtest_logreport(self, report) -> None:
        """Add up the time of a test."""
        self._seconds[report.nodeid] += report.duration

    def pytest_sessionfinish(self) -> None:
        """Write what was noted."""
        ordered = {
            name: sorted(tests, key=lambda test, tests=tests: (tests[test], self._seconds[test]))
            for name, tests in self._used.items()
        }
        self._target.write_text(json.dumps(ordered))
