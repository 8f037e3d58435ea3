"""The keeper, as a real process: nothing of an attempt survives, however it ends."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest
from support.program import exists, processes_with, until

from worker.process import Ended, KeptProcess

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="subreapers are Linux's")
ENV = {"PATH": os.environ["PATH"]}


@pytest.fixture
def marker():
    """A word that only the processes of this test carry."""
    return f"ado-keeper-{os.getpid()}-{id(object())}"


async def start(script):
    process = await KeptProcess.start(["/bin/sh", "-c", script], env=ENV, cwd="/")
    for fd in (process.stdout, process.stderr, process.events):
        os.close(fd)
    return process


@pytest.mark.parametrize(
    ("script", "expected"),
    [("exit 0", Ended(exit_code=0)), ("exit 9", Ended(exit_code=9)), ("kill -TERM $$", Ended(signal=15))],
)
async def test_the_end_of_the_main_process_is_reported(script, expected):
    process = await start(script)
    assert await process.ended() == expected
    process.close()


async def test_a_command_that_does_not_exist_is_told(tmp_path):
    process = await KeptProcess.start(["/no/such/program"], env=ENV, cwd="/")
    ended = await process.ended()
    assert "No such file" in ended.error
    process.close()
    for fd in (process.stdout, process.stderr, process.events):
        os.close(fd)


async def test_what_the_agent_leaves_behind_is_killed_with_its_end(marker):
    """A child in a session of its own and a double fork die when the main process ends."""
    script = f"setsid sh -c ': {marker}; sleep 60' & (sh -c ': {marker}; sleep 60' &) ; sleep 0.2; exit 4"
    process = await start(script)
    assert await process.ended() == Ended(exit_code=4)
    process.close()
    assert not processes_with(marker)


async def test_terminate_reaches_the_whole_tree_and_kill_those_that_ignore_it(marker):
    process = await start(
        f"trap '' TERM; setsid sh -c 'trap \"\" TERM; : {marker}; while :; do sleep 0.1; done' & wait; wait"
    )
    # keeper, shell and child: by then the shell ignores the signal, and its child does so from its first moment
    await asyncio.to_thread(until, lambda: len(processes_with(marker)) >= 3)
    process.terminate()
    ending = asyncio.create_task(process.ended())
    done, _ = await asyncio.wait([ending], timeout=0.3)
    assert not done
    process.kill()
    assert await ending == Ended(signal=signal.SIGKILL)
    process.close()
    assert not processes_with(marker)


WORKER = """
import asyncio, os, sys
sys.path[:0] = {path!r}
from worker.process import KeptProcess
async def main():
    await KeptProcess.start(["/bin/sh", "-c", {script!r}], env=dict(PATH=os.environ["PATH"]), cwd="/")
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


async def test_a_killed_keeper_takes_its_agent_along(marker):
    process = await start(f"sh -c ': {marker}; sleep 60'; :")
    await asyncio.to_thread(until, lambda: processes_with(f": {marker}; sleep"))
    keeper = process._process.pid
    os.kill(keeper, signal.SIGKILL)
    assert await process.ended() == Ended(signal=signal.SIGKILL)
    process.close()
    assert not exists(keeper)
    for pid in processes_with(marker):  # this test's process is no subreaper, as a worker is
        os.kill(pid, signal.SIGKILL)
