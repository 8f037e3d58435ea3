"""The spawner's decision."""

from app.spawner.decide import SpawnerLimits, WorkerSpec, decide
from db.model import Demand, ResourceAmounts
from db.spawning import FleetSnapshot, FleetWorker, ScaleRow

NOTHING = ResourceAmounts()
SPEC = WorkerSpec(frozenset({"shell"}), ResourceAmounts(8, 2**34))
LIMITS = SpawnerLimits(max_workers=4, idle_seconds=60, start_seconds=30)


def demand(jobs, *needs, resources=NOTHING):
    return Demand(frozenset(needs or {"shell"}), resources, jobs)


FREE = ResourceAmounts(8, 2**34)


def worker(name, state="idle", *, free_slots=1, idle=0.0, requested=0.0, backend="local", free=FREE):
    return FleetWorker(name, state, backend, "h", frozenset({"shell"}), free_slots, free, requested, idle)


def decided(demands=(), workers=(), scales=(), spec=SPEC):
    return decide(FleetSnapshot(tuple(demands), tuple(workers), tuple(scales)), spec, LIMITS, "local")


def test_each_job_gets_a_worker_up_to_the_limit():
    assert decided([demand(3)]).start == 3
    assert decided([demand(9)]).start == 4


def test_workers_that_run_count_against_the_limit():
    busy = [worker(name, "busy", free_slots=0) for name in "abcde"]
    assert decided([demand(9)], busy[:3]).start == 1
    assert decided([demand(9)], busy).start == 0


def test_a_worker_is_started_for_each_full_or_begun_number_of_slots():
    assert decided([demand(3)], spec=WorkerSpec(SPEC.capabilities, SPEC.resources, slots=2)).start == 2


def test_free_and_starting_workers_are_counted_first():
    assert decided([demand(3)], [worker("a"), worker("b", "starting")]).start == 1
    assert decided([demand(1)], [worker("a", "busy", free_slots=0)]).start == 1


def test_workers_of_other_spawners_count():
    assert decided([demand(1)], [worker("a", backend=None)]).start == 0


def test_a_job_that_no_worker_here_could_run_starts_nothing():
    assert decided([demand(5, "claude-code", "shell")]).start == 0
    assert decided([demand(5, resources=ResourceAmounts(cpu=64))]).start == 0


def test_a_worker_serves_only_jobs_that_fit_its_free_resources():
    large = demand(1, resources=ResourceAmounts(cpu=4, memory=2**33))
    assert decided([large], [worker("a", free=ResourceAmounts(4, 2**33))]).start == 0
    assert decided([large], [worker("a", free=ResourceAmounts(3.5, 2**33))]).start == 1
    assert decided([large], [worker("a", free=ResourceAmounts(4, 2**33 - 1))]).start == 1


def test_each_free_slot_serves_one_job():
    assert decided([demand(2), demand(1)], [worker("a", free_slots=2)]).start == 1


def test_draining_and_suspect_workers_serve_no_job():
    assert decided([demand(1)], [worker("a", "draining"), worker("b", "suspect")]).start == 1


def test_idle_workers_are_drained_except_the_kept_ones():
    idle = [worker("a", idle=100), worker("b", idle=200), worker("c", idle=10)]
    assert decided(workers=idle).drain == ("b", "a")
    assert decided(workers=idle, scales=[ScaleRow(frozenset(), 2)]).drain == ("b",)
    assert decided(workers=idle, scales=[ScaleRow(frozenset(), 4)]).drain == ()
    assert decided(workers=[worker("a", idle=60)]).drain == ()


def test_no_worker_is_drained_while_jobs_wait():
    assert decided([demand(9)], [worker("a", idle=100)]).drain == ()


def test_kept_workers_are_started_without_demand():
    assert decided(scales=[ScaleRow(frozenset({"shell"}), 2)]).start == 2
    assert decided(scales=[ScaleRow(frozenset({"gpu"}), 2)]).start == 0


def test_an_unanswered_request_expires_and_is_decided_again():
    decision = decided([demand(1)], [worker("a", "starting", requested=31)])
    assert decision.forget == ("a",)
    assert decision.start == 1
    assert decided([demand(1)], [worker("a", "starting", requested=30)]).forget == ()


def test_jobs_of_one_worker_share_what_it_has_free():
    large = demand(2, resources=ResourceAmounts(cpu=5))
    assert decided([large], [worker("a", free_slots=2)]).start == 1
    assert decided([demand(1, resources=ResourceAmounts(cpu=5)), demand(1)], [worker("a", free_slots=2)]).start == 0


def test_a_new_worker_gets_no_more_jobs_than_its_resources_allow():
    roomy = WorkerSpec(frozenset({"shell"}), ResourceAmounts(8, 2**34), slots=4)
    snapshot = FleetSnapshot((demand(3, resources=ResourceAmounts(cpu=5)), demand(2)), (), ())
    assert decide(snapshot, roomy, LIMITS, "local").start == 3
    assert decide(FleetSnapshot((demand(5),), (), ()), roomy, LIMITS, "local").start == 2


def test_idle_workers_that_cannot_run_what_waits_make_room_for_one_that_can():
    spec = WorkerSpec(frozenset({"shell", "claude-code"}), SPEC.resources)  # an agent was installed after their start
    older = [worker(name, idle=idle) for name, idle in zip("abcd", (100, 200, 59, 61), strict=True)]
    decision = decided([demand(1, "claude-code")], older, spec=spec)
    assert (decision.start, decision.drain) == (0, ("b", "a", "d"))
    assert decided([demand(1, "claude-code")], older, [ScaleRow(frozenset(), 3)], spec).drain == ("b",)
    assert decided([demand(1, "claude-code"), demand(4)], older, spec=spec).drain == ()
    unfit = [worker(name, free_slots=0, idle=100) for name in "abcd"]
    assert decided([demand(1)], unfit).drain == ()
