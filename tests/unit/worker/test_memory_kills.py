"""What the kernel counted is what an attempt says of its end."""

import pytest

from worker.agents.verdict import Outcome
from worker.memory_kills import MemoryWatch

KILLED = Outcome("failed", 137, "exit_nonzero", "exit code 137")
MIB = 2**20
V2 = ("0::/\n", "", "memory.events", "low 0\nhigh 0\nmax 9\noom 1\noom_kill {}\n", "memory.max")
V2_BELOW = ("0::/system.slice/ado.scope\n", "system.slice/ado.scope", *V2[2:])
V1 = ("4:memory:/kubepods/pod1\n0::/\n", "memory/kubepods/pod1", "memory.oom_control",
      "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n", "memory.limit_in_bytes")  # fmt: skip
V1_INSIDE = (V1[0], "memory", *V1[2:])
"""A container that sees its group as the top, while its membership names the node's path."""
HYBRID = ("4:cpu:/\n0::/a\n", "unified/a", *V2[2:])


class Group:
    def __init__(self, directory, membership, path, events, text, limit):
        self.directory, self._events, self._text = directory / "cgroup" / path, events, text
        self.directory.mkdir(parents=True)
        (directory / "membership").write_text(membership)
        self.count(3)
        (self.directory / limit).write_text(f"{300 * MIB}\n")
        self._where = {"mount": directory / "cgroup", "membership": directory / "membership"}

    def count(self, kills):
        (self.directory / self._events).write_text(self._text.format(kills))

    def watch(self, alone=True):
        return MemoryWatch(alone=alone, **self._where)


@pytest.fixture(params=[V2, V2_BELOW, V1, V1_INSIDE, HYBRID], ids=["v2", "v2 below", "v1", "v1 inside", "hybrid"])
def group(request, tmp_path):
    return Group(tmp_path, *request.param)


def test_a_kill_during_the_attempt_is_reported_with_the_limit_and_the_option(group):
    watch = group.watch()
    assert watch.explain(KILLED) == KILLED  # killed, but by somebody else
    group.count(4)
    found = watch.explain(KILLED)
    assert (found.outcome, found.exit_code, found.reason) == ("failed", 137, "oom_killed")
    assert "300 MiB" in found.message
    assert "--memory" in found.message
    assert group.watch().explain(KILLED) == KILLED  # the next attempt is not to blame


def test_a_command_that_survives_the_kill_of_its_child_reports_it_unless_other_jobs_run(group):
    alone, beside = group.watch(), group.watch(alone=False)
    group.count(4)
    failed = Outcome("failed", 1, "exit_nonzero", "exit code 1")
    assert alone.explain(failed).reason == "oom_killed"
    assert beside.explain(failed) == failed
    assert beside.explain(KILLED).reason == "oom_killed"


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome("succeeded", 0),
        Outcome("failed", 137, "timed_out", "too long"),
        Outcome("cancelled", 137, "cancelled"),
        Outcome("failed", None, "start_failed", "not there"),
    ],
)
def test_another_cause_of_the_end_is_kept(group, outcome):
    watch = group.watch()
    group.count(9)
    assert watch.explain(outcome) == outcome


def test_no_kill_is_reported_without_a_group_or_a_limit(tmp_path):
    nowhere = MemoryWatch(alone=True, mount=tmp_path / "none", membership=tmp_path / "none")
    assert nowhere.explain(KILLED) == KILLED
    unlimited = Group(tmp_path, *V1)
    (unlimited.directory / "memory.limit_in_bytes").write_text("9223372036854771712")
    watch = unlimited.watch()
    unlimited.count(4)
    assert "limit" not in watch.explain(KILLED).message


def test_unreadable_counters_are_not_a_kill(group):
    watch = group.watch()
    (group.directory / group._events).write_text("oom_kill\noom_kill many")
    assert watch.explain(KILLED) == KILLED
