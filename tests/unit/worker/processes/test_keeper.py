"""The keeper, as a real process: nothing of an attempt survives, however it ends."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.fork_chain import FORK_CHAIN
from support.program import exists, processes_with, until
from support.reachable import open_to_others

from worker.processes.keeper import describe, processes
from worker.processes.process import KeptProcess, ProcessEnd, is_shortage

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="subreapers are Linux's")
ENV = {"PATH": os.environ["PATH"]}


async def start(script):
    process = await KeptProcess.start(["/bin/sh", "-c", script], env=ENV, cwd="/")
    for fd in (process.stdout, process.stderr, process.events):
        os.close(fd)
    return process


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("exit 0", ProcessEnd(exit_code=0)),
        ("exit 9", ProcessEnd(exit_code=9)),
        ("kill -TERM $$", ProcessEnd(signal=15)),
    ],
)
async def test_the_end_of_the_main_process_is_reported(script, expected):
    process = await start(script)
    assert await process.ended() == expected
    process.close()


async def test_a_missing_command_is_reported(tmp_path):
    process = await KeptProcess.start(["/no/such/program"], env=ENV, cwd="/")
    ended = await process.ended()
    assert "No such file" in ended.error
    process.close()
    for fd in (process.stdout, process.stderr, process.events):
        os.close(fd)


async def test_processes_that_the_agent_leaves_are_killed_at_its_end(marker):
    """A child in a session of its own and a double fork die when the main process ends."""
    script = f"setsid sh -c ': {marker}; sleep 60' & (sh -c ': {marker}; sleep 60' &) ; sleep 0.2; exit 4"
    process = await start(script)
    assert await process.ended() == ProcessEnd(exit_code=4)
    process.close()
    assert not processes_with(marker)


async def test_terminate_reaches_the_whole_tree_and_kill_ends_the_rest(marker):
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
    assert await ending == ProcessEnd(signal=signal.SIGKILL)
    process.close()
    assert not processes_with(marker)


async def output_of(script, **more):
    """Run a script to its end; return what it wrote to stdout, and what it wrote as events."""
    process = await KeptProcess.start(["/bin/sh", "-c", script], env=ENV, cwd="/", **more)
    os.close(process.stderr)
    with os.fdopen(process.stdout, "rb") as stdout, os.fdopen(process.events, "rb") as events:
        texts = await asyncio.gather(asyncio.to_thread(stdout.read), asyncio.to_thread(events.read))
    await process.ended()
    process.close()
    return texts


async def test_the_agent_gets_one_descriptor_of_one_digit_and_a_path():
    """dash takes only descriptors of one digit in a redirection; nothing of the keeper's is there besides."""
    script = 'echo a >&$ADO_EVENTS_FD; echo b >> "$ADO_EVENTS"; exec sh -c "ls /proc/self/fd"'
    descriptors, events = await output_of(script)
    assert events == b"a\nb\n"
    assert descriptors.split() == [b"0", b"1", b"2", b"3", b"8"]  # 3 is the directory that ls reads


async def test_the_agent_inherits_no_other_descriptor_of_its_worker():
    """Also not one that the worker itself has inherited: its lifeline, or the pipe that its token came through."""
    script = f"""
import asyncio, os, sys
sys.path[:0] = {sys.path!r}
from worker.processes.process import KeptProcess
async def main():
    inherited = os.pipe()
    for fd in inherited:
        os.set_inheritable(fd, True)
    process = await KeptProcess.start(["/bin/ls", "/proc/self/fd"], env=dict(os.environ), cwd="/")
    await process.ended()
    print(os.read(process.stdout, 65536).decode())
import uvloop
uvloop.run(main())
"""
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["0", "1", "2", "3", "8"]  # 3 is the directory that ls reads


async def test_the_agent_cannot_reach_the_keepers_channel():
    """A process of the same user can open what it finds under /proc/PID/fd, but no socket."""
    script = """for f in /proc/$PPID/fd/*; do
        case $(readlink $f) in socket:*) (echo '{"exit": 0}' > $f) 2>/dev/null; esac
    done; exit 5"""
    process = await KeptProcess.start(["/bin/sh", "-c", script], env=ENV, cwd="/")
    os.close(process.events)
    ended = await process.ended()
    process.close()
    os.close(process.stdout)
    os.close(process.stderr)
    assert ended == ProcessEnd(exit_code=5)


async def test_a_job_is_ended_before_its_worker_when_memory_runs_out():
    score = await asyncio.to_thread(lambda: int(Path("/proc/self/oom_score_adj").read_text()))
    said, _ = await output_of("cat /proc/self/oom_score_adj /proc/$PPID/oom_score_adj")
    assert [int(word) for word in said.split()] == [min(1000, score + 500), score]


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "ALRM", "TSTP", "RTMIN"])
async def test_the_keeper_ignores_signals_of_its_agent(name):
    process = await start(f"kill -{name} $PPID; sleep 0.1; exit 6")
    assert await process.ended() == ProcessEnd(exit_code=6)
    process.close()


async def test_a_stopped_keeper_is_continued(marker):
    """An agent stops its keeper; the end of the attempt is reported and no process is left."""
    process = await start(f"(setsid sh -c ': {marker}; sleep 60' &); sleep 0.2; kill -STOP $PPID; exit 3")
    assert await asyncio.wait_for(process.ended(), 60) == ProcessEnd(exit_code=3)
    process.close()
    assert not processes_with(marker)


ZOMBIE_LEADER = """
import ctypes, os, threading, time
if os.fork() == 0:
    os.setsid()
    for fd in (0, 1, 2): os.close(fd)
    threading.Thread(target=lambda: time.sleep(60)).start()
    time.sleep(0.1)
    ctypes.CDLL(None)["pthread_exit"](None)
time.sleep(0.5)
os._exit(2)
"""


async def test_a_process_whose_first_thread_has_ended_is_killed(marker):
    process = await KeptProcess.start([sys.executable, "-c", ZOMBIE_LEADER, marker], env=ENV, cwd="/")
    for fd in (process.stdout, process.stderr, process.events):
        os.close(fd)
    ended = await process.ended()
    process.close()
    assert ended == ProcessEnd(exit_code=2)
    groups = {pid for pid, (_, _, session) in processes().items() if session == process._process.pid}
    assert not groups


async def test_a_chain_of_forks_is_caught(tmp_path):
    """A process that forks and exits all the time is never where a look at the processes has seen it."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    (tmp_path / "chain.c").write_text(FORK_CHAIN)
    subprocess.run([compiler, "-o", tmp_path / "chain", tmp_path / "chain.c"], check=True)  # noqa: ASYNC221
    process = await KeptProcess.start([str(tmp_path / "chain")], env=ENV, cwd="/")
    for fd in (process.stdout, process.stderr, process.events):
        os.close(fd)
    assert await asyncio.wait_for(process.ended(), 60) == ProcessEnd(exit_code=7)
    process.close()
    assert not processes_with(str(tmp_path / "chain"))


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("setpriv"), reason="takes root to make a setuid program")
@pytest.mark.parametrize("how", ["", "exec "])
async def test_a_process_of_another_user_is_named_and_does_not_block(tmp_path, how):
    """What the keeper may not kill ends neither the attempt's end nor the machine's peace."""
    open_to_others(tmp_path)
    program = tmp_path / "other"
    shutil.copy(shutil.which("setpriv"), program)
    program.chmod(0o4755)
    seconds_asleep = f"57.{os.getpid()}"  # of this test alone: another one may run beside it
    other = f"{program} --reuid 0 --regid 0 --clear-groups sleep {seconds_asleep}"
    go = tmp_path / "go"
    script = f"{how}{other}" if how else f"setsid {other} & until [ -e {go} ]; do sleep 0.1; done; exit 4"

    def sleeping():
        return [pid for pid in processes_with(f"sleep\x00{seconds_asleep}") if describe(pid).startswith("sleep ")]

    with as_nobody("", ["/bin/sh", "-c", script]) as (process, channel):
        await asyncio.to_thread(until, sleeping, "the other user's process")
        began = time.monotonic()
        if how:
            channel.send(b"K")
        else:
            go.touch()
        report = json.loads(await asyncio.to_thread(channel.recv, 4096))
        seconds = time.monotonic() - began
        _, _, usage = await asyncio.to_thread(os.wait4, process.pid, 0)
        process.returncode = 0
    survivors = sleeping()
    for pid in survivors:
        os.kill(pid, signal.SIGKILL)
    assert report["survivors"] == [f"sleep (pid {pid}, user 0)" for pid in survivors]
    assert len(survivors) == 1
    assert seconds < 6
    assert usage.ru_utime + usage.ru_stime < 1


NOBODY = """
import os, resource, sys
sys.path[:0] = {path!r}
import worker.processes.keeper
worker.processes.keeper._KILL_SECONDS = 2.0
if os.getuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
{first}
worker.processes.keeper.main(sys.argv[1:])
"""


@contextlib.contextmanager
def as_nobody(first, argv):
    """Run a keeper as a user without rights, after a line of Python; give its process and the worker's channel."""
    channel, peer = socket.socketpair()
    with channel, Path(os.devnull).open("wb") as null:
        command = [sys.executable, "-c", NOBODY.format(path=sys.path, first=first)]
        command += [str(peer.fileno()), str(null.fileno()), "-", "--", *argv]
        fds = [peer.fileno(), null.fileno()]
        with peer:
            process = subprocess.Popen(command, pass_fds=fds, stdout=null, stderr=null)
        with process:
            yield process, channel


def test_a_keeper_that_cannot_fork_reports_a_shortage():
    with as_nobody("resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))", ["/bin/true"]) as (_, channel):
        report = json.loads(channel.recv(4096))
    assert is_shortage(report["errno"])


async def test_the_agent_ends_with_a_killed_keeper(marker):
    process = await start(f"sh -c ': {marker}; sleep 60'; :")
    await asyncio.to_thread(until, lambda: processes_with(f": {marker}; sleep"))
    keeper = process._process.pid
    os.kill(keeper, signal.SIGKILL)
    assert await process.ended() == ProcessEnd(signal=signal.SIGKILL)
    process.close()
    assert not exists(keeper)
    for pid in processes_with(marker):  # this test's process is no subreaper, as a worker is
        os.kill(pid, signal.SIGKILL)
