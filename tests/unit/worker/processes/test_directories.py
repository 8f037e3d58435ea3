"""The directory of a job: one path for every attempt, one attempt at a time, nothing left behind."""

import os
import stat
import subprocess
import threading

import pytest
from support.users import give_away

from worker.machine_health import MachineUnfit
from worker.processes import directories
from worker.processes.directories import attempt_directory, sweep
from worker.processes.removal import RemovalQueue


@pytest.fixture
def removals():
    return RemovalQueue()


async def test_every_attempt_starts_at_the_same_empty_path(tmp_path, removals):
    found = []
    for _ in range(2):
        async with attempt_directory(str(tmp_path), "task-1-0", removals) as attempt_dir:
            found.append(
                (attempt_dir.base, attempt_dir.stable, sorted(path.name for path in attempt_dir.base.rglob("*")))
            )
            (attempt_dir.job_dir / "left").write_text("x")
    assert found == [(tmp_path / "task-1-0", True, ["home", "job", "tmp"])] * 2
    assert removals.wait(60)
    assert list(tmp_path.iterdir()) == []


async def test_a_killed_worker_is_swept_up_before_the_next_attempt(tmp_path, removals):
    (tmp_path / "task-1-0" / "job" / "old").mkdir(parents=True)
    async with attempt_directory(str(tmp_path), "task-1-0", removals) as attempt_dir:
        assert list(attempt_dir.job_dir.iterdir()) == []


async def test_an_attempt_starts_elsewhere_while_a_process_of_the_last_one_lives(tmp_path, monkeypatch, removals):
    monkeypatch.setattr(directories, "_PATIENCE_SECONDS", 0.1)
    async with attempt_directory(str(tmp_path), "task-1-0", removals) as first:
        process = subprocess.Popen(["sleep", "60"], pass_fds=[first.lock])  # noqa: ASYNC220
        try:
            async with attempt_directory(str(tmp_path), "task-1-0", removals) as second:
                assert second.base != first.base
                assert not second.stable
                sweep(str(tmp_path), removals)
                assert first.job_dir.is_dir()
                assert second.job_dir.is_dir()
        finally:
            process.kill()
            process.wait()


async def test_a_running_deletion_delays_no_attempt(tmp_path, removals):
    """The end of an attempt and the start of the next do not wait for a deletion that does not end."""
    hold = threading.Event()
    removals.submit(hold.wait)
    try:
        async with attempt_directory(str(tmp_path), "task-1-0", removals) as first:
            (first.job_dir / "left").touch()
        async with attempt_directory(str(tmp_path), "task-1-0", removals) as second:
            assert (second.base, second.stable) == (first.base, True)
            assert list(second.job_dir.iterdir()) == []
            sweep(str(tmp_path), removals)
            leftovers = [path for path in tmp_path.iterdir() if path != second.base]
            assert len(leftovers) == 1  # locked, so no sweep takes it
    finally:
        hold.set()
    assert removals.wait(60)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("work_dir", ["file", "file/under", "/proc/1/no", "loop"])
async def test_a_directory_that_cannot_be_made_is_a_fault_of_the_machine(tmp_path, work_dir, removals):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(MachineUnfit, match="cannot make a job's directory"):
        async with attempt_directory(str(tmp_path / work_dir), "task-1-0", removals):
            pass


def test_a_sweep_removes_only_leftovers(tmp_path, removals):
    for name in ("task-1-0", "task-12-3-0a1b2c3d", "task-1-0.0a1b2c3d", "probe-0a1b2c3d", "mine", "task-x"):
        (tmp_path / name / "inner").mkdir(parents=True)
    sweep(str(tmp_path), removals)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "task-x"]
    sweep(str(tmp_path / "not there"), removals)


async def test_a_leftover_that_a_sweep_could_not_remove_keeps_no_lock(tmp_path, removals, monkeypatch):
    def no_process(_base):
        raise BlockingIOError("Resource temporarily unavailable")

    (tmp_path / "task-1-0" / "job").mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(removals, "remove", no_process)
        with pytest.raises(BlockingIOError):
            sweep(str(tmp_path), removals)
    async with attempt_directory(str(tmp_path), "task-1-0", removals) as attempt_dir:
        assert attempt_dir.stable


async def test_directories_of_a_job_are_private_under_any_umask(tmp_path, removals):
    before = os.umask(0)
    try:
        async with attempt_directory(str(tmp_path / "work"), "task-1-0", removals) as attempt_dir:
            made = [
                attempt_dir.base.parent,
                attempt_dir.base,
                attempt_dir.job_dir,
                attempt_dir.home,
                attempt_dir.base / "tmp",
            ]
            assert [stat.S_IMODE(path.stat().st_mode) for path in made] == [0o700] * 5
    finally:
        os.umask(before)


async def test_a_work_directory_of_another_user_is_not_used(tmp_path, removals, monkeypatch):
    work = tmp_path / "work"
    work.mkdir()
    give_away(work, monkeypatch)
    with pytest.raises(MachineUnfit, match="belongs to another user"):
        async with attempt_directory(str(work), "task-1-0", removals):
            pass
    assert list(work.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can make directories of another user")
@pytest.mark.parametrize("kind", ["directory", "link", "file", "fifo"])
async def test_a_directory_of_another_user_is_neither_used_nor_deleted(tmp_path, removals, kind):
    """An administrator may name a directory that everybody writes into, such as /tmp."""
    tmp_path.chmod(0o1777)
    os.chown(tmp_path, 0, 0)
    base, target = tmp_path / "task-1-0", tmp_path / "target"
    target.mkdir()
    {
        "directory": lambda: (base / "job").mkdir(parents=True),
        "link": lambda: base.symlink_to("target"),
        "file": base.touch,
        "fifo": lambda: os.mkfifo(base),
    }[kind]()
    os.chown(base, 12345, 12345, follow_symlinks=False)
    async with attempt_directory(str(tmp_path), "task-1-0", removals) as attempt_dir:
        assert attempt_dir.base != base
        assert not attempt_dir.stable
        assert attempt_dir.base.lstat().st_uid == 0
    assert removals.wait(60)
    sweep(str(tmp_path), removals)
    assert base.lstat().st_uid == 12345
    assert list(target.iterdir()) == []
