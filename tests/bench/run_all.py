"""Runs every benchmark and rewrites the table in README.md beside it; ``--small`` only sees that all of them work."""

import argparse
import importlib
import re
import sys
import time
import traceback
from pathlib import Path

import orjson

from tests.bench.figures import Figure, report, table
from tests.bench.stage import Stage, run

README = Path(__file__).with_name("README.md")
MODULES = (
    *("latency", "ingest", "pickup", "noop", "claims", "fanout", "workers", "cancel", "recovery", "start", "files"),
    *("words", "pixels"),
)
_TABLE = re.compile(r"(<!-- figures -->\n).*?(<!-- end of figures -->\n)", re.DOTALL)


def figures(stage: Stage, names: list[str]) -> tuple[list[Figure], list[str]]:
    """Run benchmarks one after the other; return the figures, and what went wrong with those that gave none."""
    found: list[Figure] = []
    failures: list[str] = []
    for name in names:
        began = time.monotonic()
        try:
            made = run(importlib.import_module(f"tests.bench.{name}").measure, stage, name)
            found += made
            sys.stderr.write(f"{table(made)}\n")
        except Exception as error:
            failures.append(f"{name} failed: {type(error).__name__}: {error}")
            traceback.print_exc()
        sys.stderr.write(f"{name}: {time.monotonic() - began:.0f} s\n")
    return found, failures


def main() -> int:
    """Run, print JSON, and write the table where everything was run at full size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="only see that all of them work; writes no table")
    parser.add_argument("names", nargs="*", default=MODULES, help=f"which: {', '.join(MODULES)}")
    arguments = parser.parse_args()
    with Stage(small=arguments.small) as stage:
        items, failures = figures(stage, list(arguments.names))
    found = report(items)
    sys.stdout.write(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode() + "\n")
    if not arguments.small and tuple(arguments.names) == MODULES:
        head = f"Measured at {found['at']} on {found['machine']}, by `python -m tests.bench.run_all`.\n\n"
        head += "".join(f"{failure}\n\n" for failure in failures)
        text = README.read_text("utf-8")
        README.write_text(_TABLE.sub(lambda match: f"{match[1]}\n{head}{table(items)}\n\n{match[2]}", text), "utf-8")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
