"""The benchmarks work: each runs once at a tiny size, so that none can rot."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli.dashboard import find_node
from tests.bench.run_all import MODULES

ROOT = Path(__file__).parents[2]
IN_A_BROWSER = ("pixels", "long_log")


@pytest.mark.slow
@pytest.mark.timeout(600)  # a moment on a quiet machine
def test_every_benchmark_runs_and_reports_its_floor():
    names = [name for name in MODULES if name not in IN_A_BROWSER]
    command = [sys.executable, "-m", "tests.bench.run_all", "--small", *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=580, check=False)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    figures = json.loads(done.stdout)["figures"]
    assert len({figure["command"] for figure in figures}) == 12
    assert all(figure["product"] > 0 and figure["floor"] > 0 for figure in figures)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(shutil.which("chromium") is None or find_node() is None, reason="needs chromium and Node")
def test_the_benchmarks_in_a_browser_run():
    command = [sys.executable, "-m", "tests.bench.run_all", "--small", *IN_A_BROWSER]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    figures = {figure["what"]: figure for figure in json.loads(done.stdout)["figures"]}
    assert figures["write → pixels, 100 lines/s, p50"]["floor"] > 0
    assert figures["write → pixels, 100 lines/s, p50"]["detail"]["lines"] > 100
    assert figures["dashboard, first view, as compressed as it travels"]["met"] is True
    assert figures["log of 9 MB: a text that is only at its beginning is found by the server"]["product"] > 0


@pytest.mark.long
def test_the_benchmark_of_many_watchers_runs():
    command = [sys.executable, "-m", "tests.bench.watchers", "--small"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    figures = json.loads(done.stdout)["figures"]
    assert len(figures) == 8
    assert figures[0]["floor"] > 0


@pytest.mark.long
def test_the_benchmark_beside_a_history_runs():
    command = [sys.executable, "-m", "tests.bench.flat", "--small"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    figures = {figure["what"]: figure for figure in json.loads(done.stdout)["figures"]}
    assert figures["tasks.list"]["floor"] > 0
    assert figures["1,000 jobs: tasks.get"]["met"] is True


@pytest.mark.long
@pytest.mark.timeout(600)  # it installs the peers
@pytest.mark.skipif(find_node() is None, reason="needs Node")
def test_the_benchmark_beside_peers_runs():
    command = [sys.executable, "-m", "tests.bench.peers", "--small"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=580, check=False)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    figures = json.loads(done.stdout)["figures"]
    assert len(figures) == 12
    assert all(figure["product"] > 0 and figure["floor"] > 0 for figure in figures)
    assert {figure["command"] for figure in figures} == {"python -m tests.bench.peers"}
