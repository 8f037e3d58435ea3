"""Whether a machine can run jobs, and when it can again."""

import asyncio
import os
import resource
import socket

import pytest

from worker import machine_health
from worker.machine_health import MachineHealth, MachineUnfit, probe


def test_a_probe_leaves_nothing(tmp_path):
    probe(str(tmp_path / "work"))
    assert list((tmp_path / "work").iterdir()) == []


def test_a_probe_fails_without_descriptors(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/", os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 8, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            probe(str(tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
async def quick(tmp_path, monkeypatch):
    """The health of a machine whose work directory is a file, which is probed again at once."""
    monkeypatch.setattr(machine_health, "_FIRST_PAUSE", 0.02)
    monkeypatch.setattr(machine_health, "_LONGEST_PAUSE", 0.05)
    (tmp_path / "work").touch()
    found = MachineHealth(str(tmp_path / "work"))
    watching = asyncio.create_task(found.watch())
    yield found
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_a_worker_waits_until_its_machine_is_usable(quick, tmp_path):
    work = tmp_path / "work"
    await asyncio.wait_for(quick.wait_until_fit(), 60)
    for _ in range(2):
        quick.report("it cannot")
        waiting = asyncio.create_task(quick.wait_until_fit())
        done, _ = await asyncio.wait([waiting], timeout=0.3)
        assert not done
        assert str(work) in quick.problem
        work.unlink()
        await asyncio.wait_for(waiting, 60)
        assert quick.problem is None
        work.rmdir()
        work.touch()


async def test_a_worker_waits_until_ports_are_free(quick, tmp_path):
    (tmp_path / "work").unlink()
    base = 15000 + os.getpid() % 200 * 21  # other tests run beside this one
    with socket.create_server(("127.0.0.1", base)):
        quick._ports.append(base)
        quick.report("it cannot")
        waiting = asyncio.create_task(quick.wait_until_fit())
        async with asyncio.timeout(60):
            while "all 1 ranges of ADO_JOB_PORTS are in use" not in quick.problem:
                await asyncio.sleep(0.01)
        await quick.check()  # a job that has ports already is not to blame the machine for that
        assert not waiting.done()
    await asyncio.wait_for(waiting, 60)


async def test_the_machine_is_checked_without_a_waiting_caller(quick, tmp_path):
    quick.report("it cannot")
    (tmp_path / "work").unlink()
    async with asyncio.timeout(60):
        while quick.problem is not None:
            await asyncio.sleep(0.01)


async def test_a_failure_is_confirmed_or_not(tmp_path):
    (tmp_path / "file").touch()
    await MachineHealth(str(tmp_path)).check()
    with pytest.raises(MachineUnfit, match="Not a directory"):
        await MachineHealth(str(tmp_path / "file")).check()


async def test_a_probe_that_was_cancelled_goes_on_with_the_next_registration(tmp_path, monkeypatch):
    monkeypatch.setattr(machine_health, "_FIRST_PAUSE", 0.02)
    (tmp_path / "work").touch()
    health = MachineHealth(str(tmp_path / "work"))
    health.report("it cannot")
    watching = asyncio.create_task(health.watch())
    async with asyncio.timeout(60):
        while health.problem == "it cannot":  # until it has been probed
            await asyncio.sleep(0.01)
    watching.cancel()  # as when the server has forgotten the worker
    await asyncio.gather(watching, return_exceptions=True)
    (tmp_path / "work").unlink()
    watching = asyncio.create_task(health.watch())
    await asyncio.wait_for(health.wait_until_fit(), 60)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
