"""A killed worker, a killed keeper or both leave no process of a job."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.fork_chain import FORK_CHAIN
from support.program import processes_with, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="subreapers are Linux's")
ENV = {"PATH": os.environ["PATH"]}


WORKER = """
import asyncio, os, sys
sys.path[:0] = {path!r}
from worker.processes.process import KeptProcess
async def main():
    process = await KeptProcess.start(["/bin/sh", "-c", {script!r}], env=dict(PATH=os.environ["PATH"]), cwd="/")
    print("started", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


def test_a_killed_worker_leaves_no_process(marker):
    """kill -9 of the worker ends the tree, a child in its own session included."""
    script = f"setsid sh -c ': {marker}; sleep 60' & sh -c ': {marker}; sleep 60'"
    code = WORKER.format(path=sys.path, script=script)
    worker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert worker.stdout.readline() == b"started\n"
        until(lambda: len(processes_with(f": {marker}; sleep")) >= 2)
    finally:
        worker.kill()
        worker.wait()
        worker.stdout.close()
    until(lambda: not processes_with(marker), "the tree to be gone")


def is_stopped(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_a_worker_that_is_killed_while_a_keeper_is_stopped_leaves_no_process(marker):
    """The keeper sees the worker's end although its agent has stopped it."""
    script = f"setsid sh -c ': {marker}; sleep 60' & kill -STOP $PPID; sh -c ': {marker}; sleep 60'"
    code = WORKER.format(path=sys.path, script=script).replace("asyncio.sleep(60)", "asyncio.Event().wait()")
    worker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert worker.stdout.readline() == b"started\n"
        until(lambda: any(is_stopped(pid) for pid in processes_with(marker)), "the keeper to be stopped")
    finally:
        worker.kill()
        worker.wait()
        worker.stdout.close()
    until(lambda: not processes_with(marker), "the tree to be gone")


SUBREAPING_WORKER = """
import asyncio, os, sys
sys.path[:0] = {path!r}
from worker.processes.keeper import become_subreaper, children
from worker.processes.process import KeptProcess

async def main():
    become_subreaper()
    process = await KeptProcess.start({argv!r}, env=dict(os.environ), cwd="/")
    for fd in (process.stdout, process.stderr, process.events):
        os.close(fd)
    if await asyncio.to_thread(sys.stdin.readline) == "kill\\n":
        process.kill()
    ended = await process.ended()
    process.close()
    print("ended", ended.exit_code, ended.signal, ended.survivors, children())

asyncio.run(main())
"""
SUBREAPER = """import ctypes, os, subprocess, sys, time
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
subprocess.Popen(["setsid", "sh", "-c", "(sleep 60; : $0) &", "orphan-" + sys.argv[1]])
time.sleep(60)"""
SIBLING = """import ctypes, os, sys, time
CLONE_PARENT = 0x8000
pid = ctypes.CDLL(None).syscall({"x86_64": 56, "aarch64": 220}[os.uname().machine], CLONE_PARENT | 17, 0, 0, 0, 0)
os.setsid() if pid == 0 else None
time.sleep(60)"""
LOOSE = "setsid sh -c ': in-namespace-{marker}; sleep 60' & exec sh -c ': namespace-{marker}; sleep 60'"
WAYS_OUT = """
setsid sh -c ': session-{marker}; sleep 60' &
(setsid sh -c '(sleep 60; : double-fork-{marker}) &' &)
{python} -c '{subreaper}' {marker} &
{python} -c '{sibling}' sibling-{marker} &
cat >{loose_file} <<'END'
{loose}
END
(unshare -pf sh {loose_file} || unshare -Urpf sh {loose_file} || sh {loose_file}) &
until [ -e {go} ]; do sleep 0.05; done
"""
NAMES = ["session", "double-fork", "orphan", "sibling", "namespace", "in-namespace"]


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("exit 3", "ended 3 None () []"),
        ("kill -KILL $PPID; sleep 60", "ended None 9 () []"),
        ("setsid sh -c ': stopping-{marker}; while kill -STOP $1; do :; done' - $PPID & wait", "ended None 9 () []"),
    ],
    ids=["the job ends", "the job kills its keeper", "the job stops its keeper for ever"],
)
def test_no_way_of_ending_a_job_leaves_a_process(tmp_path, marker, end, said):
    """A job may start anything and do anything to its keeper: no process is left when its end is reported."""
    go, script = tmp_path / "go", tmp_path / "script"
    parts = {"subreaper": SUBREAPER, "sibling": SIBLING, "loose": LOOSE.format(marker=marker), "go": go}
    ways = WAYS_OUT.format(marker=marker, python=sys.executable, loose_file=tmp_path / "loose", **parts)
    script.write_text(ways + end.format(marker=marker))
    code = SUBREAPING_WORKER.format(path=sys.path, argv=["/bin/sh", str(script)])
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as worker:
        for name in NAMES:
            until(lambda name=name: processes_with(f"{name}-{marker}"), f"{name} to run")
        go.touch()
        if "STOP" in end:
            until(lambda: processes_with(f"stopping-{marker}"), "the keeper to be stopped")
        assert worker.communicate("kill\n" if "STOP" in end else "\n", timeout=60)[0].strip() == said
    assert not processes_with(marker)


def test_a_chain_of_forks_is_caught_where_the_keeper_was_killed(tmp_path):
    """Each process of the chain lives for a moment, in a session of its own, and is no child of a keeper any more."""
    source = FORK_CHAIN.replace("return 7", "kill(getppid(), 9); usleep(60000000)").replace(
        "if (fork()) _exit(0)", "if (fork()) _exit(0); else setsid()"
    )
    (tmp_path / "chain.c").write_text(f"#include <signal.h>\n#include <stdlib.h>\n{source}")
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    subprocess.run([compiler, "-o", tmp_path / "chain", tmp_path / "chain.c"], check=True)
    code = SUBREAPING_WORKER.format(path=sys.path, argv=[str(tmp_path / "chain")])
    done = subprocess.run(
        [sys.executable, "-c", code], input="\n", capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.strip() == "ended None 9 () []", done.stderr
    assert not processes_with(str(tmp_path / "chain"))
