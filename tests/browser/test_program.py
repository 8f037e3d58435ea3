"""The source of the dashboard: types, lint, unit tests, and what its lock file and its build may hold."""

import gzip
import json
import re
import subprocess
import sys

import pytest

from cli.dashboard import WEB, find_node


@pytest.fixture
def run(built):
    """Run a program of an npm package, or Node, in the source's folder."""
    node, _ = find_node()

    def run_(*arguments):
        command = [node, *arguments]
        done = subprocess.run(command, cwd=WEB, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    return run_


def test_the_types_hold_against_the_api_of_this_checkout(run):
    done = subprocess.run([sys.executable, "-m", "cli", "api", "types"], capture_output=True, check=True, timeout=60)
    (WEB / "src" / "ado.d.ts").write_bytes(done.stdout)
    run("node_modules/typescript/bin/tsc", "--noEmit")


def test_the_linter_finds_nothing(run):
    run("node_modules/@biomejs/biome/bin/biome", "check", "--error-on-warnings", ".")


def test_the_unit_tests_pass(run):
    run("build.mjs", "--tests")
    tests = sorted(str(path) for path in (WEB / "build" / "tests").glob("*.test.js"))
    assert tests
    run("--test", *tests)


def test_the_lock_says_nothing_of_where_packages_come_from():
    """npm then asks the registry that the machine is set to."""
    text = (WEB / "package-lock.json").read_text()
    assert '"resolved"' not in text
    assert text.count('"integrity"') > 20


def test_the_first_view_is_small_and_licences_are_collected(built):
    assets = WEB / "dist" / "assets"
    page = (WEB / "dist" / "index.html").read_text()
    first = re.findall(r'"/assets/([^"]+)"', page)
    assert len(first) == 3
    assert sum(len(gzip.compress((assets / name).read_bytes())) for name in first) < 300_000
    licences = (assets / "licenses.txt").read_text()
    used = json.loads((WEB / "package.json").read_text())["dependencies"]
    assert all(f"{name} {version}" in licences for name, version in used.items())
