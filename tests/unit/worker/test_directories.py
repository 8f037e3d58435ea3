"""The directory of a job: one path for every attempt, one attempt at a time, nothing left behind."""

import subprocess

from worker import directories
from worker.directories import place, sweep


async def test_every_attempt_finds_the_same_empty_path(tmp_path):
    found = []
    for _ in range(2):
        async with place(str(tmp_path), "task-1-0") as where:
            found.append((where.base, where.stable, sorted(path.name for path in where.base.rglob("*"))))
            (where.directory / "left").write_text("x")
    assert found == [(tmp_path / "task-1-0", True, ["home", "job", "tmp"])] * 2
    assert list(tmp_path.iterdir()) == []


async def test_what_a_killed_worker_left_is_gone_for_the_next_attempt(tmp_path):
    (tmp_path / "task-1-0" / "job" / "old").mkdir(parents=True)
    async with place(str(tmp_path), "task-1-0") as where:
        assert list(where.directory.iterdir()) == []


async def test_while_a_process_of_an_earlier_attempt_lives_the_next_one_is_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(directories, "_PATIENCE_SECONDS", 0.1)
    async with place(str(tmp_path), "task-1-0") as first:
        process = subprocess.Popen(["sleep", "60"], pass_fds=[first.lock])  # noqa: ASYNC220
        try:
            async with place(str(tmp_path), "task-1-0") as second:
                assert second.base != first.base
                assert not second.stable
                sweep(str(tmp_path))
                assert first.directory.is_dir()
                assert second.directory.is_dir()
        finally:
            process.kill()
            process.wait()


def test_a_sweep_takes_leftovers_and_nothing_else(tmp_path):
    for name in ("task-1-0", "task-12-3-0a1b2c3d", "mine", "task-x"):
        (tmp_path / name / "inner").mkdir(parents=True)
    sweep(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "task-x"]
    sweep(str(tmp_path / "not there"))
