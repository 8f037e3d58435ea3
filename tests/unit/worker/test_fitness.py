"""Whether a machine can run jobs, and when it can again."""

import asyncio
import os
import resource

import pytest

from worker import fitness
from worker.fitness import Fitness, Unusable, probe


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


async def test_a_worker_waits_until_its_machine_is_fit_again(tmp_path, monkeypatch):
    monkeypatch.setattr(fitness, "_FIRST_PAUSE", 0.02)
    monkeypatch.setattr(fitness, "_LONGEST_PAUSE", 0.05)
    work = tmp_path / "work"
    work.touch()
    found = Fitness(str(work))
    await asyncio.wait_for(found.regained(), 1)
    found.report("it cannot")
    waiting = asyncio.create_task(found.regained())
    done, _ = await asyncio.wait([waiting], timeout=0.3)
    assert not done
    assert str(work) in found.problem
    work.unlink()
    await asyncio.wait_for(waiting, 20)
    assert found.problem is None


async def test_a_failure_is_confirmed_or_not(tmp_path):
    (tmp_path / "file").touch()
    await Fitness(str(tmp_path)).confirm()
    with pytest.raises(Unusable, match="Not a directory"):
        await Fitness(str(tmp_path / "file")).confirm()
