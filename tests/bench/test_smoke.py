"""The benchmarks work: each runs once at a tiny size, so that none can rot."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(600)  # a moment on a quiet machine
def test_every_benchmark_runs_and_reports_its_floor():
    command = [sys.executable, "-m", "tests.bench.run_all", "--small"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=580, check=False)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    figures = json.loads(done.stdout)["figures"]
    assert len({figure["command"] for figure in figures}) == 12
    assert all(figure["product"] > 0 and figure["floor"] > 0 for figure in figures)


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
