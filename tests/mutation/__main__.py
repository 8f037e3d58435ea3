"""Change one thing in the code at a time, and say which changes no test notices.

Each part of ``parts.py`` names files and their tests. The command fails if a change survives that ``SURVIVORS.md`` does
not list, or if fewer than nine of ten are killed.
"""

import argparse
import json
import re
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.mutation import forks
from tests.mutation.mutants import Mutant, mutants_of
from tests.mutation.parts import PARTS, Part
from tests.mutation.statements import Recorder

_LISTED = re.compile(r"^\| `(.+?)` \| `(.+?)` \|", re.MULTILINE)
_LEAST_KILLED = 0.9


def listed() -> set[tuple[str, str]]:
    """Return the survivors that have a reason."""
    return set(_LISTED.findall((forks.ROOT / "tests/mutation/SURVIVORS.md").read_text()))


class Trial:
    """Tries the mutants of a part, one after the other, until the time is over."""

    def __init__(self, part: Part, copy: Path, dsn: str | None, end: float) -> None:
        self.tried, self.stopped = 0, False
        self.survived: list[Mutant] = []
        self._part, self._copy, self._dsn, self._end = part, copy, dsn, end
        self._users = copy / "statements.json"

    def run(self, file_part: str, change_part: str) -> None:
        """Try the files whose path contains ``file_part``, and of these the changes that contain ``change_part``."""
        for file, tests in self._part.files.items():
            if file_part in file:
                self._file(file, tests, change_part)

    def _file(self, file: str, tests: Sequence[str], change_part: str) -> None:
        target = self._copy / file
        original = target.read_text()
        wanted = [mutant for mutant in mutants_of(file, original) if self._is_wanted(mutant, change_part)]
        if not wanted:
            return
        if code := self._tests(tests, Recorder(self._users)):
            sys.exit(f"the tests of {file} fail without a change (exit code {code}): {' '.join(tests)}")
        users = json.loads(self._users.read_text())
        for mutant in wanted:
            if time.monotonic() > self._end:
                print(f"stopped in {file}: the time is over", flush=True)
                self.stopped = True
                break
            target.write_text(mutant.text)
            self.tried += 1
            if self._tests(users.get(mutant.statement, ()) if mutant.statement else tests) == forks.PASSED:
                self.survived.append(mutant)
                print(f"survived: {file}: {mutant.change}", flush=True)
        target.write_text(original)

    def _is_wanted(self, mutant: Mutant, change_part: str) -> bool:
        is_of_part = not mutant.statement or mutant.statement in self._part.statements
        return is_of_part and change_part in mutant.change

    def _tests(self, tests: Sequence[str], *plugins: object) -> int:
        if not tests:
            return forks.PASSED
        return forks.run(self._copy, tests, seconds=self._part.seconds, dsn=self._dsn, plugins=plugins)


def main() -> None:
    """Run the parts that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--file", default="", help="only files whose path contains this")
    parser.add_argument("--change", default="", help="only changes that contain this, such as a statement's name")
    parser.add_argument("--minutes", type=float, default=60.0, help="stop after this time (default: 60)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the copy, Postgres and the fork are removed
    end = time.monotonic() + options.minutes * 60
    known, failed = listed(), False
    names = options.parts or list(PARTS)
    needs_postgres = any(file.endswith(".sql") for name in names for file in PARTS[name].files)
    with forks.copy_of_checkout() as copy, forks.postgres(needed=needs_postgres) as dsn:
        forks.load_libraries()
        for name in names:
            trial = Trial(PARTS[name], copy, dsn, end)
            trial.run(options.file, options.change)
            unlisted = [mutant for mutant in trial.survived if (mutant.file, mutant.change) not in known]
            killed = 1 - len(trial.survived) / trial.tried if trial.tried else 1.0
            print(f"{name}: {trial.tried} mutants, {killed:.0%} killed, {len(unlisted)} without a reason", flush=True)
            failed = failed or trial.stopped or bool(unlisted) or killed < _LEAST_KILLED
    sys.exit(failed)


if __name__ == "__main__":
    main()
