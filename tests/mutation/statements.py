"""Finds the tests that run each statement, so that a mutant of one statement costs only these."""

import json
from collections import defaultdict
from pathlib import Path


class Recorder:
    """A plugin of pytest that writes, for each statement, the tests that run it, the quickest first."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._test = ""
        self._used: dict[str, set[str]] = defaultdict(set)
        self._seconds: dict[str, float] = defaultdict(float)

    def pytest_collection_finish(self) -> None:
        """Have each statement note the test that runs it."""
        from db.queries import Query

        original = Query.arguments

        def arguments(query, values):
            self._used[query.name].add(self._test)
            return original(query, values)

        Query.arguments = arguments

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Note which test runs from here on."""
        self._test = nodeid

    def pytest_runtest_logreport(self, report) -> None:
        """Add up the time of a test."""
        self._seconds[report.nodeid] += report.duration

    def pytest_sessionfinish(self) -> None:
        """Write what was noted."""
        ordered = {name: sorted(tests, key=self._seconds.__getitem__) for name, tests in self._used.items()}
        self._target.write_text(json.dumps(ordered))
