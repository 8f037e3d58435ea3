"""Control groups of attempts, made for real where this machine lets root make them."""

import subprocess
from pathlib import Path

import pytest
from support.program import until

from worker.sandbox import cgroup
from worker.sandbox.cgroup import Cgroup, delegated

ESCAPE = 'setsid sh -c "trap \\"\\" TERM HUP; echo started; sleep 600 & wait" & read line'


@pytest.fixture
def group():
    made = Cgroup.make(delegated())
    yield made
    made.end()


@pytest.mark.cgroup
def test_the_end_of_a_group_kills_all_of_its_processes(group):
    command = [*group.prefix, "sh", "-c", ESCAPE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"started\n"
        directory = Path(group.prefix[-1]).parent
        until(lambda: len((directory / "cgroup.procs").read_text().split()) >= 3, "the shells and what they start")
        process.kill()
        process.wait()
        left = [int(pid) for pid in (directory / "cgroup.procs").read_text().split()]
        assert left
        group.end()
        assert not directory.exists()
        for pid in left:
            until(lambda pid=pid: not Path(f"/proc/{pid}/fd").exists() or ended(pid), f"the end of {pid}")


def ended(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.cgroup
def test_groups_that_a_job_made_are_removed_with_its_own(group):
    directory = Path(group.prefix[-1]).parent
    (directory / "a" / "b").mkdir(parents=True)
    group.end()
    assert not directory.exists()


def test_a_machine_without_control_groups_has_none(tmp_path, monkeypatch):
    for mounts, own in (("", ""), ("30 23 0:26 / /x rw - cgroup2 cgroup2 rw", ""), ("", "0::/a")):
        (tmp_path / "mounts").write_text(mounts)
        (tmp_path / "own").write_text(own)
        monkeypatch.setattr(cgroup, "_MOUNTS", tmp_path / "mounts")
        monkeypatch.setattr(cgroup, "_OWN", tmp_path / "own")
        assert delegated() is None


def test_under_systemd_a_group_that_was_not_delegated_is_left_alone(tmp_path, monkeypatch):
    (tmp_path / "mounts").write_text(f"30 23 0:26 / {tmp_path} rw - cgroup2 cgroup2 rw")
    (tmp_path / "own").write_text("1:cpu:/\n0::/system.slice/x.service\n")
    (tmp_path / "system.slice" / "x.service").mkdir(parents=True)
    monkeypatch.setattr(cgroup, "_MOUNTS", tmp_path / "mounts")
    monkeypatch.setattr(cgroup, "_OWN", tmp_path / "own")
    monkeypatch.setattr(cgroup, "_SYSTEMD", tmp_path)
    made = []
    monkeypatch.setattr(Cgroup, "make", made.append)
    assert delegated() is None
    assert made == []
