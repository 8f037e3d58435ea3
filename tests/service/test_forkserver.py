"""A fork of the test's server is what a new process would be."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from ctypes import CDLL
from pathlib import Path

import pytest
from support import forkserver
from support.program import processes_with

NEW_NETWORK = 0x40000000


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["tokn"],
        ["tasks", "list", "-o", "json"],
        ["run", "--agent", "shell", "pwd; echo $MARK; echo no >&2; kill -9 $$"],
    ],
)
def test_it_writes_and_ends_as_a_new_process(arguments, tmp_path):
    env = {**os.environ, "ADO_HOME": str(tmp_path), "MARK": "é\udcff"}
    forked = forkserver.run(arguments, env=env, cwd=str(tmp_path), timeout=60)
    new = subprocess.run(
        [sys.executable, "-P", "-m", "cli", *arguments],
        env=env, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert (forked.args, forked.returncode, forked.stdout, forked.stderr) == (
        new.args, new.returncode, new.stdout, new.stderr,
    )  # fmt: skip


def test_a_replica_that_is_killed_says_so_and_ends_once(cluster):
    replica = cluster.replicas[0]
    assert isinstance(replica, forkserver.Forked)
    assert replica.poll() is None
    replica.kill()
    assert replica.wait(60) == replica.poll() == -signal.SIGKILL
    replica.send_signal(signal.SIGTERM)  # reaches nobody
    with pytest.raises(subprocess.TimeoutExpired):
        cluster.replicas[1].wait(0)


@pytest.mark.namespaces
def test_it_is_in_the_network_of_the_thread_that_starts_it(tmp_path):
    own = Path("/proc/thread-self/ns/net")
    env = {**os.environ, "ADO_HOME": str(tmp_path)}

    def network():
        command = ["run", "--agent", "shell", "readlink /proc/self/ns/net"]
        assert forkserver.run(command, env=env, cwd="/", timeout=60).stdout.decode().strip() == str(own.readlink())
        return own.readlink()

    def apart():
        assert CDLL(None).unshare(NEW_NETWORK) == 0
        return network()

    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(apart).result() != network()


def test_what_python_reads_as_it_starts_needs_a_new_process():
    env = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    assert forkserver.run(["--version"], env=env, cwd="/", timeout=60) is None


def test_the_kernel_shows_its_own_arguments_and_environment(cluster):
    worker = cluster.add_worker("shown-in-proc", env={"MARK": "é\udcff"})
    assert isinstance(worker, forkserver.Forked)
    line, environment = (Path(f"/proc/{worker.pid}/{name}").read_bytes() for name in ("cmdline", "environ"))
    assert line.rstrip(b"\0").split(b"\0") == [os.fsencode(word) for word in worker.args]
    assert set(environment.rstrip(b"\0").split(b"\0")) == {
        os.fsencode(f"{name}={value}") for name, value in {**cluster.env, "MARK": "é\udcff"}.items()
    }
    assert worker.pid in processes_with("shown-in-proc")
