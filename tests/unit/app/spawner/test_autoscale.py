"""Ranges: a recorded load curve and random ones stay within them, and the number of workers does not flap."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from app.spawner.autoscale import admit, judge
from app.spawner.decide import SpawnerLimits, WorkerSpec, decide
from app.spawner.pod_plan import PodLimits, closed, plan
from db.autoscale import AutoscaleRange, SurplusNote
from db.model import Demand, ResourceAmounts
from db.pods import PodlessJob, PodRow, PodSnapshot
from db.spawning import FleetSnapshot, FleetWorker, ScaleRow

SHELL = frozenset({"shell"})
SIZE = ResourceAmounts(1, 2**30)
STEP = 0.5


def one_range(minimum=0, maximum=3, target_queue=0, cooldown_seconds=5.0, capability="shell", **counted):
    return AutoscaleRange(capability, minimum, maximum, target_queue, cooldown_seconds, **counted)


class Fleet:
    """Workers of one spawner of processes, which take what waits, and the row of their range."""

    def __init__(self, limits):
        self.range, self.busy, self.idle, self.now, self.since = limits, [], [], 0.0, None
        self.made = 0
        self.sizes, self.retired_at = [0], []

    def step(self, jobs):
        """Let so many jobs be there, and the spawner decide."""
        while self.busy and len(self.busy) > jobs:
            self.idle.append(self.busy.pop(0))
        while self.idle and len(self.busy) < jobs:
            self.busy.append(self.idle.pop(0))
        self.queued = jobs - len(self.busy)
        workers = [FleetWorker(name, "busy", "local", "h", SHELL, 0, SIZE, 0, 0) for name in self.busy]
        workers += [FleetWorker(name, "idle", "local", "h", SHELL, 1, SIZE, 0, 9) for name in self.idle]
        surplus = None if self.since is None else self.now - self.since
        counted = replace(
            self.range, workers=len(workers), ready=len(workers), busy=len(self.busy), surplus_seconds=surplus
        )
        demands = (Demand(SHELL, ResourceAmounts(), self.queued),) if self.queued else ()
        decision = decide(
            FleetSnapshot(demands, tuple(workers), (), (counted,)),
            WorkerSpec(SHELL, SIZE),
            SpawnerLimits(max_workers=1000),
            "local",
        )
        for note in decision.notes:
            self.range = replace(self.range, surplus_peak=note.peak)
            if note.peak is None:
                self.since = None
            elif note.restart or self.since is None:
                self.since = self.now
        assert set(decision.drain) <= set(self.idle)
        self.idle = [name for name in self.idle if name not in decision.drain]
        self.retired_at += [self.now] if decision.drain else []
        self.idle += [f"w{self.made + place}" for place in range(decision.start)]
        self.made += decision.start
        self.sizes.append(len(self.idle) + len(self.busy))
        self.now += STEP


def turns(sizes):
    """Return how often a series of numbers changes its direction."""
    ways = [after > before for before, after in pairwise(sizes) if after != before]
    return sum(before != after for before, after in pairwise(ways))


def curve():
    lines = Path(__file__).with_name("load_curve.csv").read_text().splitlines()
    return [int(line.split(",")[1]) for line in lines if not line.startswith("#")]


def followed(limits, jobs):
    fleet = Fleet(limits)
    for count in jobs:
        fleet.step(count)
    return fleet


def test_a_recorded_load_curve_is_followed_within_the_range_without_flapping():
    fleet = followed(one_range(1, 4, cooldown_seconds=10), curve())
    assert (min(fleet.sizes[1:]), max(fleet.sizes), fleet.sizes[-1]) == (1, 4, 1)
    assert turns(fleet.sizes) <= 3  # up, down in the pause, up and down again


def test_the_same_curve_without_a_cooldown_makes_the_number_flap():
    assert turns(followed(one_range(1, 4, cooldown_seconds=0), curve()).sizes) >= 10


def test_a_long_cooldown_keeps_what_a_burst_needed():
    fleet = followed(one_range(0, 4, cooldown_seconds=60), curve())
    assert (turns(fleet.sizes), fleet.sizes[-1]) == (0, 4)


LIMITS = some.tuples(
    some.integers(0, 6), some.integers(0, 9), some.integers(0, 4), some.sampled_from([0.0, 1.0, 3.0])
).map(lambda of: one_range(min(of[0], of[1]), max(of[0], of[1]), of[2], of[3]))
JOBS = some.lists(some.integers(0, 30), min_size=1, max_size=60)


@given(LIMITS, JOBS)
def test_any_load_stays_within_any_range(limits, jobs):
    fleet = Fleet(limits)
    for count in jobs:
        fleet.step(count)
        assert limits.minimum <= fleet.sizes[-1] <= limits.maximum


@given(LIMITS, JOBS)
def test_between_two_decreases_there_is_a_cooldown(limits, jobs):
    fleet = followed(limits, jobs)
    assert all(after - before >= limits.cooldown_seconds for before, after in pairwise(fleet.retired_at))
    assert turns(fleet.sizes) <= 2 * len(fleet.retired_at)


@given(LIMITS, JOBS)
def test_no_more_than_the_target_waits_per_worker_unless_the_maximum_is_reached(limits, jobs):
    fleet = Fleet(limits)
    for count in jobs:
        fleet.step(count)
        workers = fleet.sizes[-1]
        waiting = count - min(count, workers)
        assert workers == limits.maximum or waiting <= limits.target_queue * workers


@given(LIMITS, some.integers(0, 30))
def test_a_steady_load_comes_to_a_steady_number(limits, jobs):
    fleet = followed(limits, [jobs] * 40)
    assert len(set(fleet.sizes[-15:])) == 1
    assert turns(fleet.sizes) == 0


def test_a_surplus_is_retired_down_to_the_most_that_were_needed_meanwhile():
    busy_now = one_range(ready=8, workers=8, busy=1, surplus_seconds=5.0, surplus_peak=3, maximum=9)
    assert (judge(busy_now, 0, 0).retire, judge(busy_now, 0, 0).note(retired=True).peak) == (5, 1)
    assert judge(replace(busy_now, surplus_seconds=4.9), 0, 0).retire == 0
    assert judge(replace(busy_now, surplus_peak=1), 3, 0).retire == 4  # three jobs are about to be taken


def test_idle_workers_at_the_maximum_make_room_for_jobs_that_they_cannot_run():
    full = one_range(maximum=2, workers=2, ready=2, surplus_seconds=9.0, surplus_peak=0)
    assert judge(full, 5, 5).retire == 2
    assert judge(full, 5, 4).retire == 1
    assert judge(full, 5, 3).retire == 0


def outcome(limits, queued=0, waiting=0):
    found = judge(limits, queued, waiting)
    return found.jobs, found.minimum, found.excess, found.retire, found.peak


def test_a_range_with_what_it_needs_asks_for_nothing():
    assert outcome(one_range(1, 9, 2, workers=3, ready=2, busy=2)) == (0, 0, 0, 0, None)
    assert outcome(one_range(1, 3, workers=5, leaving=1, ready=1)) == (0, 0, 1, 0, None)


def test_nobody_is_retired_when_workers_were_lost_since_more_were_needed():
    limits = one_range(workers=3, ready=3, busy=1, surplus_seconds=9.0, surplus_peak=4, maximum=9)
    assert outcome(limits) == (0, 0, 0, 0, 4)


def test_what_a_burst_needed_does_not_keep_a_surplus_for_ever_after_a_worker_was_lost():
    fleet = followed(one_range(1, 3, cooldown_seconds=2), [9, 2])
    assert (len(fleet.busy), len(fleet.idle)) == (2, 1)  # two are needed while there are three
    fleet.busy.pop()
    for _ in range(12):
        fleet.step(0)
    assert fleet.sizes[-1] == 1


def test_a_cooldown_begins_again_when_workers_were_lost():
    over = one_range(workers=3, ready=3, busy=1, surplus_seconds=9.0, surplus_peak=3, maximum=9)
    assert judge(over, 0, 0).note(retired=False) == SurplusNote("shell", 1, restart=True)
    assert judge(replace(over, surplus_seconds=4.9), 0, 0).note(retired=False) is None


def test_a_cooldown_begins_again_when_workers_were_retired():
    late = judge(one_range(workers=3, ready=3, busy=1, surplus_seconds=9.0, surplus_peak=2), 0, 0)
    assert (late.note(retired=True), late.note(retired=False)) == (SurplusNote("shell", 1, restart=True), None)


def test_the_target_is_what_may_wait_for_each_worker():
    two = one_range(maximum=9, target_queue=3, workers=2, ready=2, busy=2)
    assert [judge(two, waiting, waiting).jobs for waiting in (6, 7, 10, 11, 99)] == [0, 1, 1, 2, 7]
    assert judge(one_range(maximum=9, target_queue=3), 1, 1).jobs == 1


def test_a_worker_with_several_slots_takes_as_many_jobs():
    assert judge(one_range(maximum=9), 5, 5, slots=2).jobs == 5
    assert judge(one_range(maximum=2), 5, 5, slots=2).jobs == 4


def test_a_lowered_maximum_drains_idle_workers_first_and_then_busy_ones_after_their_jobs():
    workers = [FleetWorker(name, "busy", "local", "h", SHELL, 0, SIZE, 0, 0) for name in "ab"]
    workers += [FleetWorker(name, "idle", "local", "h", SHELL, 1, SIZE, 0, 0) for name in "cd"]
    limits = one_range(maximum=1, workers=5, leaving=1, ready=4, busy=2)
    demand = Demand(SHELL, ResourceAmounts(), 9)
    spec = WorkerSpec(SHELL, SIZE)
    decision = decide(FleetSnapshot((demand,), tuple(workers), (), (limits,)), spec, SpawnerLimits(), "local")
    assert (decision.start, set(decision.drain), decision.drain_busy) == (0, {"c", "d"}, ("a",))
    decision = decide(
        FleetSnapshot((), tuple(workers), (), (replace(limits, maximum=2),)), spec, SpawnerLimits(), "local"
    )
    assert (set(decision.drain), decision.drain_busy) == ({"c", "d"}, ())


def test_a_cooldown_that_is_over_ends_no_busy_worker():
    workers = [FleetWorker(name, "busy", "local", "h", SHELL, 0, SIZE, 0, 0) for name in "ab"]
    workers += [FleetWorker(name, "idle", "local", "h", SHELL, 1, SIZE, 0, 0) for name in "cd"]
    limits = one_range(maximum=9, workers=4, ready=4, busy=2, surplus_seconds=9.0, surplus_peak=2)
    decision = decide(
        FleetSnapshot((), tuple(workers), (), (limits,)), WorkerSpec(SHELL, SIZE), SpawnerLimits(), "local"
    )
    assert (set(decision.drain), decision.drain_busy) == ({"c", "d"}, ())


def test_idle_workers_that_scale_keeps_are_not_retired():
    idle = tuple(FleetWorker(name, "idle", "local", "h", SHELL, 1, SIZE, 0, 0) for name in "abc")
    limits = one_range(workers=3, ready=3, surplus_seconds=9.0, surplus_peak=0)
    snapshot = FleetSnapshot((), idle, (ScaleRow(SHELL, 2),), (limits,))
    assert len(decide(snapshot, WorkerSpec(SHELL, SIZE), SpawnerLimits(), "local").drain) == 1


def test_a_maximum_limits_what_scale_keeps_and_a_spawners_own_limit_the_minimum():
    snapshot = FleetSnapshot((), (), (ScaleRow(SHELL, 5),), (one_range(maximum=2),))
    assert decide(snapshot, WorkerSpec(SHELL, SIZE), SpawnerLimits(), "local").start == 2
    snapshot = FleetSnapshot((), (), (), (one_range(5, 9),))
    assert decide(snapshot, WorkerSpec(SHELL, SIZE), SpawnerLimits(max_workers=3), "local").start == 3


def test_a_process_obeys_the_ranges_of_all_that_it_offers():
    both = frozenset({"shell", "codex"})
    ranges = (one_range(maximum=9), one_range(maximum=1, capability="codex"), one_range(maximum=0, capability="gpu"))
    snapshot = FleetSnapshot((Demand(SHELL, ResourceAmounts(), 5),), (), (), ranges)
    assert decide(snapshot, WorkerSpec(both, SIZE), SpawnerLimits(), "local").start == 1


def test_a_range_replaces_the_idle_time_of_the_spawners_settings():
    idle = FleetWorker("a", "idle", "local", "h", SHELL, 1, SIZE, 0, 999)
    limits = one_range(cooldown_seconds=5, workers=1, ready=1)
    decision = decide(FleetSnapshot((), (idle,), (), (limits,)), WorkerSpec(SHELL, SIZE), SpawnerLimits(), "local")
    assert (decision.drain, [note.peak for note in decision.notes]) == ((), [0])


OFFERED = frozenset({"shell", "codex"})
POD_LIMITS = PodLimits(max_pods=20, default=SIZE, idle_seconds=60)
NEEDS = [SHELL, frozenset({"codex"}), OFFERED]


def pod(name, capabilities=SHELL, key=None, **values):
    usual = {
        "state": "placed", "uid": name, "reason": None, "reason_seconds": 0.0, "age_seconds": 5.0, "claimed": False,
        "worker_state": "idle", "idle_seconds": 0.0, "job_status": "queued" if key else None, "holds": False,
    }  # fmt: skip
    return PodRow(name=name, key=key, capabilities=capabilities, **{**usual, **values})


def queue(*needs):
    jobs = tuple(PodlessJob((1, place), Demand(need, ResourceAmounts(), 1)) for place, need in enumerate(needs))
    return jobs, tuple(job.demand for job in jobs)


def planned(needs=(), pods=(), ranges=(), scales=(), workers=()):
    waiting, demands = queue(*needs)
    snapshot = PodSnapshot(tuple(pods), waiting, tuple(workers), tuple(scales), tuple(ranges), demands)
    return plan(snapshot, OFFERED, POD_LIMITS)


def test_jobs_over_a_maximum_get_no_pod_and_do_not_hold_up_others():
    codex = frozenset({"codex"})
    result = planned([SHELL, SHELL, codex, SHELL], ranges=[one_range(maximum=1)])
    assert [request.key[1] for request in result.jobs] == [0, 2]
    snapshot = PodSnapshot((), (), (), (), (one_range(maximum=1, workers=1),), (Demand(SHELL, SIZE, 9),))
    assert closed(snapshot, OFFERED) == SHELL
    assert closed(replace(snapshot, ranges=(one_range(maximum=0, capability=""),)), OFFERED) == OFFERED


@pytest.mark.parametrize(
    ("found", "made"),
    [
        ({"state": "wanted"}, 1),
        ({"state": "ending"}, 2),
        ({"claimed": True}, 2),
        ({"job_status": "running"}, 2),
    ],
)
def test_a_job_that_has_a_pod_is_not_counted_as_waiting(found, made):
    limits = one_range(maximum=9, target_queue=1, workers=1)
    starting = pod("p", key=(1, 0), **{"worker_state": "starting", **found})
    demands = (Demand(SHELL, ResourceAmounts(), 4),)
    waiting, _ = queue(SHELL, SHELL, SHELL)
    snapshot = PodSnapshot((starting,), waiting, (), (), (limits,), demands)
    assert len(plan(snapshot, OFFERED, POD_LIMITS).jobs) == made


def test_a_pod_counts_for_one_job_of_all_that_need_the_same():
    starting, (waiting, _) = pod("p", key=(2, 0), worker_state="starting"), queue(SHELL)
    demands = (Demand(SHELL, ResourceAmounts(), 1), Demand(SHELL, SIZE, 1))
    snapshot = PodSnapshot((starting,), waiting, (), (), (one_range(maximum=9, workers=1),), demands)
    assert len(plan(snapshot, OFFERED, POD_LIMITS).jobs) == 1


def test_warm_pods_are_kept_to_the_minimum_and_retired_after_the_cooldown():
    assert planned(ranges=[one_range(2)]).warm == ((SHELL, 2),)
    assert planned(ranges=[one_range(2, capability="")]).warm == ((frozenset(), 2),)
    pods = [pod("a"), pod("b", age_seconds=9.0)]
    limits = one_range(1, workers=2, ready=2)
    first = planned(pods=pods, ranges=[limits])
    assert (first.surplus, [note.peak for note in first.notes]) == ((), [1])
    late = replace(limits, surplus_seconds=5.0, surplus_peak=1)
    retired = planned(pods=pods, ranges=[late])
    assert (retired.surplus, retired.notes) == (("b",), (SurplusNote("shell", 1, restart=True),))
    assert planned(pods=pods, ranges=[late], scales=[ScaleRow(SHELL, 2)]).surplus == ()


def test_warm_pods_of_a_range_that_was_removed_end():
    assert planned(pods=[pod("a")]).surplus == ("a",)


def test_a_lowered_maximum_ends_warm_pods_at_once_and_leaves_those_of_jobs():
    pods = [pod("a"), pod("b"), pod("c", key=(2, 0), claimed=True, holds=True, job_status="running")]
    limits = one_range(maximum=2, workers=3, ready=2, minimum=2)
    assert len(planned(pods=pods, ranges=[limits]).surplus) == 1
    other = [pod("a"), pod("b", frozenset())]
    limits = one_range(capability="", maximum=1, workers=2, ready=2)
    kept = [ScaleRow(frozenset(), 1), ScaleRow(SHELL, 1)]
    assert len(planned(pods=other, ranges=[limits], scales=kept).surplus) == 1


@given(
    some.lists(some.sampled_from(NEEDS), max_size=12),
    some.dictionaries(some.sampled_from(["", "shell", "codex"]), some.tuples(some.integers(0, 4), some.integers(0, 5))),
    some.dictionaries(some.sampled_from([frozenset(), *NEEDS]), some.integers(0, 4)),
)
def test_what_is_planned_keeps_every_maximum(needs, ranges, scales):
    limits = [one_range(min(both), max(both), capability=name) for name, both in ranges.items()]
    result = planned(needs, ranges=limits, scales=[ScaleRow(*one) for one in scales.items()])
    made = [needs[request.key[1]] for request in result.jobs]
    made += [kind for kind, count in result.warm for _ in range(count)]
    for limit in limits:
        assert sum(limit.covers(kind) for kind in made) <= limit.maximum


@given(some.lists(some.tuples(some.sampled_from(NEEDS), some.integers(0, 9)), max_size=5), some.integers(0, 9))
def test_jobs_are_admitted_in_the_order_of_the_queue(groups, room):
    demands = [Demand(needs, ResourceAmounts(), jobs) for needs, jobs in groups]
    limits = one_range(maximum=room)
    waiting = sum(demand.jobs for demand in demands if limits.covers(demand.needs))
    admitted = admit(demands, [judge(limits, waiting, waiting)])
    about = [(one.jobs, all_of.jobs) for one, all_of in zip(admitted, demands, strict=True) if limits.covers(one.needs)]
    assert sum(got for got, _ in about) == min(room, waiting)
    assert all(one.jobs == of.jobs for one, of in zip(admitted, demands, strict=True) if not limits.covers(of.needs))
