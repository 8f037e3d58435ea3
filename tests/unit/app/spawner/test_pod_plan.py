"""The decision about pods."""

from app.spawner.pod_plan import PodLimits, plan
from db.model import Demand, ResourceAmounts
from db.pods import PodlessJob, PodRequest, PodRow, PodSnapshot
from db.spawning import FleetWorker, ScaleRow

SIZE = ResourceAmounts(1, 2**30)
LIMITS = PodLimits(max_pods=4, default=SIZE, idle_seconds=60)
OFFERED = frozenset({"shell"})


def waiting(job, *, resources=None, needs=OFFERED):
    return PodlessJob((1, job), Demand(needs, resources or ResourceAmounts(), 1))


def pod(name, key=None, **values):
    usual = {
        "capabilities": frozenset(), "state": "placed", "uid": name, "reason": None, "reason_seconds": 0.0,
        "age_seconds": 5.0, "claimed": False, "worker_state": "idle", "idle_seconds": 0.0, "job_status": None,
        "holds": False,
    }  # fmt: skip
    if key is not None:
        usual |= {"job_status": "queued", "worker_state": "starting"}
    return PodRow(name=name, key=key, **{**usual, **values})


def worker(name, state="idle", *, capabilities=OFFERED):
    return FleetWorker(name, state, "kubernetes", None, capabilities, 1, SIZE, 0.0, 0.0)


def planned(jobs=(), pods=(), workers=(), scales=()):
    return plan(PodSnapshot(tuple(pods), tuple(jobs), tuple(workers), tuple(scales)), OFFERED, LIMITS)


def test_each_job_gets_a_pod_up_to_the_limit_of_the_namespace():
    assert [request.key for request in planned(map(waiting, range(3))).jobs] == [(1, 0), (1, 1), (1, 2)]
    assert len(planned(map(waiting, range(9)), [pod("a", (2, 0))]).jobs) == 3
    assert planned(map(waiting, range(9)), [pod(name, (2, 0), state="ending") for name in "abcd"]).jobs == ()
    assert planned(map(waiting, range(9)), [pod(name, (2, 0)) for name in "abcde"]).jobs == ()


def test_the_first_jobs_of_the_queue_get_the_free_slots_and_then_the_pods():
    queue = [waiting(job) for job in (3, 1, 2, 0, 4, 5)]
    assert [request.key[1] for request in planned(queue, workers=[worker("standing")]).jobs] == [1, 2, 0, 4]


def test_a_pod_has_the_size_of_its_job_or_the_default():
    asked = planned([waiting(0, resources=ResourceAmounts(0.5, 0, 2))]).jobs
    assert asked == (PodRequest((1, 0), ResourceAmounts(0.5, SIZE.memory, 2)),)


def test_a_ready_warm_pod_serves_and_one_that_is_not_ready_does_not_count():
    assert planned([waiting(0)], [pod("w")], [worker("w")]).jobs == ()
    assert len(planned([waiting(0)], [pod("w", worker_state="starting")], [worker("w", "starting")]).jobs) == 1
    assert len(planned([waiting(0), waiting(1)], [pod("w")], [worker("w")]).jobs) == 1


def test_the_pod_of_a_job_that_waits_for_an_unhealthy_agent_is_removed_once_it_was_idle_for_long():
    def surplus(**values):
        return planned(pods=[pod("p", (2, 0), worker_state="idle", **values)]).surplus

    assert surplus(waits_for_agent=True, idle_seconds=61.0) == ("p",)
    assert surplus(waits_for_agent=True, idle_seconds=60.0) == ()
    assert surplus(idle_seconds=61.0) == ()


def test_a_pod_serves_only_its_job_and_a_standing_worker_serves_all():
    assert len(planned([waiting(0)], [pod("p", (2, 0))], [worker("p")]).jobs) == 1
    assert planned([waiting(0)], workers=[worker("standing")]).jobs == ()
    assert len(planned([waiting(0, needs=frozenset({"gpu"}))], workers=[worker("standing")]).jobs) == 1
    assert len(planned([waiting(0, resources=ResourceAmounts(cpu=9))], workers=[worker("standing")]).jobs) == 1


def test_warm_pods_are_counted_by_capabilities_including_starting_ones():
    assert planned(scales=[ScaleRow(frozenset(), 3)]).warm == ((frozenset(), 3),)
    starting = pod("w", worker_state="starting", state="wanted")
    assert planned(pods=[starting], scales=[ScaleRow(frozenset(), 3)]).warm == ((frozenset(), 2),)
    assert planned(pods=[starting], scales=[ScaleRow(OFFERED, 1)]).warm == ((OFFERED, 1),)
    assert planned(pods=[starting], scales=[ScaleRow(frozenset(), 1)]).warm == ()
    assert planned(pods=[pod("p", (2, 0))], scales=[ScaleRow(frozenset(), 1)]).warm == ((frozenset(), 1),)
    assert planned(scales=[ScaleRow(frozenset({"gpu"}), 3)]).warm == ()
    assert planned(scales=[ScaleRow(frozenset({"gpu"}), 3), ScaleRow(OFFERED, 1)]).warm == ((OFFERED, 1),)
    assert planned(map(waiting, range(3)), scales=[ScaleRow(frozenset(), 3)]).warm == ((frozenset(), 1),)
    two_kinds = [ScaleRow(frozenset(), 3), ScaleRow(OFFERED, 3)]
    assert planned(scales=two_kinds).warm == ((frozenset(), 3), (OFFERED, 1))


def test_surplus_warm_pods_end_in_order_of_usefulness():
    pods = [pod("ready"), pod("starting", worker_state="starting")]
    assert planned(pods=pods, scales=[ScaleRow(frozenset(), 1)]).surplus == ("starting",)
    assert set(planned(pods=pods, scales=[ScaleRow(frozenset(), 0)]).surplus) == {"ready", "starting"}
    assert (
        planned([waiting(0), waiting(1), waiting(2)], pods, [worker("ready")], [ScaleRow(frozenset(), 1)]).surplus == ()
    )


def test_surplus_warm_pods_that_cannot_run_what_waits_make_room_for_its_pod():
    pods, workers = [pod(name) for name in "abcd"], [worker(name) for name in "abcd"]
    large = waiting(0, resources=ResourceAmounts(cpu=9))
    found = planned([large], pods, workers, [ScaleRow(frozenset(), 1)])
    assert (found.jobs, found.surplus) == ((), ("a", "b", "c"))
    for kept in (4, 5):
        assert planned([large], pods, workers, [ScaleRow(frozenset(), kept)]).surplus == ()
    assert planned([large, waiting(1), waiting(2), waiting(3)], pods, workers).surplus == ("d",)


def test_the_oldest_ready_warm_pod_ends_first():
    pods = [pod("young", age_seconds=1), pod("old", age_seconds=9), pod("middle", age_seconds=5)]
    assert planned(pods=pods, scales=[ScaleRow(frozenset(), 1)]).surplus == ("old", "middle")


def test_a_pod_ends_when_its_job_ended_or_runs_elsewhere():
    assert planned(pods=[pod("p", (1, 0))]).surplus == ()
    assert planned(pods=[pod("p", (1, 0), job_status="cancelled")]).surplus == ("p",)
    assert planned(pods=[pod("p", (1, 0), job_status="running")]).surplus == ("p",)
    assert planned(pods=[pod("p", (1, 0), job_status=None)]).surplus == ("p",)


def test_a_pod_that_has_claimed_ends_only_when_it_stays_idle():
    busy = {"claimed": True, "holds": True, "job_status": "running", "worker_state": "busy"}
    done = {**busy, "job_status": "succeeded", "worker_state": "idle"}
    assert planned(pods=[pod("p", (1, 0), **busy, idle_seconds=99)]).surplus == ()
    assert planned(pods=[pod("p", (1, 0), **done, idle_seconds=9)]).surplus == ()
    assert planned(pods=[pod("p", (1, 0), **done, idle_seconds=60)]).surplus == ()
    assert planned(pods=[pod("p", (1, 0), **done, idle_seconds=99)]).surplus == ("p",)
