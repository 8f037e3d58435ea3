"""A run of the tests: Postgres starts when a test asks for it, and SIGTERM leaves nothing behind."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.postgres import DIRECTORY
from support.program import until
from support.session import processes_of

ROOT = Path(__file__).parents[2]
WITH_A_CLUSTER = """
import os, time
from pathlib import Path

def test_it(cluster):
    cluster.add_worker("w1", "--capability", "shell")
    cluster.ado("run", "--remote", "--detach", "--agent", "shell", "sleep 600", check=0)
    Path(os.environ["TOLD"]).write_text(os.environ["ADO_TEST_DIRECTORY"])
    time.sleep(600)
"""
WITH_A_DATABASE = """
import os, time
from pathlib import Path

def test_it(dsn, home):
    os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "600")  # which nobody ends
    Path(os.environ["TOLD"]).write_text(os.environ["ADO_TEST_DIRECTORY"])
    time.sleep(600)
"""
WITHOUT_A_DATABASE = """
import os
from pathlib import Path
from support.session import processes_of

def test_it():
    directory = os.environ["ADO_TEST_DIRECTORY"]
    started = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in processes_of(directory)]
    assert not [command for command in started if b"postgres" in command]
"""


@pytest.fixture
def start(tmp_path):
    """Return a function that starts pytest on a file of this text."""
    started = []

    def start(text, *options):
        (tmp_path / "test_it.py").write_text(text)
        env = {name: value for name, value in os.environ.items() if name not in (DIRECTORY, "ADO_TEST_DSN")}
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(ROOT),
             "-c", str(ROOT / "pyproject.toml"), "-p", "tests.conftest", "--basetemp", str(tmp_path / "base"),
             *options, str(tmp_path / "test_it.py")],
            env={**env, "TOLD": str(tmp_path / "told")}, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def segments(directory):
    """Return the segments of shared memory that the Postgres of a run has mapped."""
    found = set()
    for pid in processes_of(directory):
        with contextlib.suppress(OSError):  # it has just ended
            maps = Path(f"/proc/{pid}/maps").read_text()
            found |= {Path(path) for path in re.findall(r"/dev/shm/PostgreSQL\.\d+", maps)}
    return found


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("text", "options"), [(WITH_A_DATABASE, []), (WITH_A_CLUSTER, ["-n", "1"])])
def test_sigterm_leaves_no_process_and_no_directory(start, tmp_path, text, options):
    process = start(text, *options)
    told = tmp_path / "told"
    until(lambda: process.poll() is not None or (told.exists() and told.read_text()), "the test to begin", 150)
    assert process.poll() is None, process.communicate()[0].decode()
    directory = Path(told.read_text())
    assert processes_of(directory)
    shared_memory = segments(directory)
    assert shared_memory
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=120)[0].decode()
    assert process.returncode == pytest.ExitCode.INTERRUPTED, said
    assert processes_of(directory) == []
    assert not directory.exists()
    assert not any(segment.exists() for segment in shared_memory)


def test_tests_that_need_no_database_start_none(start):
    process = start(WITHOUT_A_DATABASE)
    said = process.communicate(timeout=120)[0].decode()
    assert process.returncode == 0, said
