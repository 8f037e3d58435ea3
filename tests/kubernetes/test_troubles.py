"""What only a cluster of the tests' own can do on demand: hold, refuse, forget, go deaf and go away.

Where no agent has to run, pods run nothing and no replica is there: it is the spawners that are tried.
"""

import itertools
import threading
import time

import pytest
from support.kube.bench import placed, pod_events
from support.kube.server import SPAWNER_MAY
from support.kube.store import ApiError
from support.program import until

LIMIT = {"ADO_MAX_WORKERS": "1000", "ADO_POD_RETRY_SECONDS": "30"}


def one_pod_a_decision(bench):
    """Every row of the database has its own pod, and no pod was ever made twice or for nobody."""
    names = [name for (name,) in bench.ado.sql("select name from ado.pods")]
    made = [
        item["metadata"]["name"] for _, kind, type_, item in bench.fake.store.log if (kind, type_) == ("pods", "ADDED")
    ]
    assert len(made) == len(set(made))
    assert set(made) <= set(names)


class Gate:
    """Holds a call until it is opened; the call is then carried out, or, if its caller has gone, not."""

    def __init__(self, *, before=True):
        self.reached = threading.Event()
        self.opened = threading.Event()
        self.before = before

    def __call__(self, proceed):
        found = None if self.before else proceed()
        self.reached.set()
        assert self.opened.wait(60)
        return found  # None: the connection is closed without an answer


@pytest.mark.parametrize("before", [True, False], ids=["before the pod", "after the pod"])
def test_a_spawner_that_replaces_a_killed_one_makes_no_second_pod(empty, before):
    gate = Gate(before=before)
    empty.fake.trouble("create", "pods", gate)
    empty.queue(1)
    victim = empty.add_spawner()
    assert gate.reached.wait(60)
    victim.kill()
    empty.add_spawner()
    gate.opened.set()
    placed(empty, 1)
    assert empty.decisions() == 1
    assert len(empty.pods()) == len(empty.secrets()) == 1
    one_pod_a_decision(empty)


def test_a_spawner_killed_between_pod_and_secret_leaves_no_pod_without_one(empty):
    gate = Gate()
    empty.fake.trouble("create", "secrets", gate)
    empty.queue(1)
    victim = empty.add_spawner()
    assert gate.reached.wait(60)
    victim.kill()
    gate.opened.set()
    empty.add_spawner()
    placed(empty, 1)
    assert empty.pods() == empty.secrets()


def test_a_taken_name_is_left_alone_and_another_one_is_chosen(empty):
    theirs = {
        "metadata": {"name": "ado-task-1-0-d1", "labels": {"ado/installation": "theirs", "ado/decision": "1"}},
        "spec": {"containers": [{"name": "w", "resources": {"requests": {"cpu": "1m"}}, "image": "ado:test"}]},
    }
    empty.fake.store.create("pods", empty.namespace, theirs)
    empty.queue(1)
    empty.add_spawner()
    placed(empty, 1)
    assert empty.pods() == ["ado-task-1-0-d2"]
    found, _ = empty.fake.store.list("pods", empty.namespace, "ado/installation=theirs")
    assert "deletionTimestamp" not in found[0]["metadata"]


def test_two_spawners_make_each_pod_once_and_wait_after_429(empty):
    def too_many(proceed):
        raise ApiError(429, "TooManyRequests", "Too many requests, please try again later.", retry_after=1)

    empty.fake.trouble("create", "pods", too_many, times=6)
    empty.queue(20)
    empty.add_spawner(**LIMIT, ADO_KUBE_IN_FLIGHT="1")
    placed(empty, 20)
    creates = [at for at, verb, resource in empty.fake.requests if (verb, resource) == ("create", "pods")]
    assert [later - earlier >= 0.9 for earlier, later in itertools.pairwise(creates[:7])] == [True] * 6
    assert empty.decisions() == 20
    one_pod_a_decision(empty)


def test_expired_versions_cause_lists_and_lose_no_event(fake):
    stopping = threading.Event()

    def forget():
        while not stopping.wait(0.1):
            fake.fake.store.compact()
            fake.fake.cut()

    forgetting = threading.Thread(target=forget)
    forgetting.start()
    try:
        fake.add_spawner()
        fake.run("--workers", "2", "sleep 1", check=0)
    finally:
        stopping.set()
        forgetting.join()
    fake.until_clean()


def test_a_silent_watch_is_cut_and_restarted(empty):
    empty.queue(1)
    empty.add_spawner(ADO_WATCH_SECONDS="1")
    placed(empty, 1)
    empty.fake.deaf = True
    until(lambda: empty.fake.count("watch", "pods") >= 2, "the watches to be deaf")
    heard = empty.fake.count("watch", "pods")
    empty.delete(empty.pods()[0], grace_period_seconds=0)
    until(lambda: empty.fake.count("watch", "pods") > heard, "another watch")
    empty.fake.deaf = False
    until(lambda: empty.decisions() == 2, "the death to be noticed")


def test_a_server_that_answers_no_watch_is_left(empty):
    gate = Gate()
    empty.fake.trouble("watch", "pods", gate)
    empty.queue(1)
    empty.add_spawner(ADO_WATCH_SECONDS="1")
    assert gate.reached.wait(60)
    placed(empty, 1)
    empty.delete(empty.pods()[0], grace_period_seconds=0)
    until(lambda: empty.decisions() == 2, "the death to be noticed")
    gate.opened.set()


@pytest.mark.parametrize("seconds", [3, pytest.param(20, marks=pytest.mark.long)])
def test_an_unavailable_api_server_is_waited_for(empty, seconds):
    empty.queue(3)
    empty.add_spawner()
    placed(empty, 3)
    empty.fake.stop()
    empty.queue(3)
    until(lambda: empty.states().get("wanted") == 3, "three more to be decided")
    time.sleep(seconds)
    assert empty.states() == {"placed": 3, "wanted": 3}  # nothing is believed to be gone
    empty.fake.start()
    placed(empty, 6)
    assert empty.decisions() == 6
    one_pod_a_decision(empty)


def test_a_full_quota_is_reported_and_its_increase_is_used(empty):
    empty.fake.quotas["pods"] = 2
    empty.queue(4)
    empty.add_spawner(ADO_POD_RETRY_SECONDS="1")
    placed(empty, 2)
    told = "select body->>'reason', body->>'message' from ado.events where type = 'pod'"
    waits = "select reason, message from ado.pod_status where state = 'wanted'"
    until(lambda: [reason for reason, _ in empty.ado.sql(waits)] == ["quota"] * 2, "both to be shown")
    until(lambda: empty.ado.sql(told), "the log to tell")
    assert all("exceeded quota" in message for _, message in empty.ado.sql(waits) + empty.ado.sql(told))
    empty.fake.quotas["pods"] = 10
    placed(empty, 4)
    assert [reason for reason, _ in empty.ado.sql(told)] == ["quota"]  # said once for the task
    assert empty.decisions() == 4


def test_a_missing_right_for_secrets_is_reported_and_used_once_granted(empty):
    SPAWNER_MAY.discard(("secrets", "create"))
    try:
        empty.queue(1)
        empty.add_spawner(ADO_POD_RETRY_SECONDS="1")
        told = "select body->>'reason' from ado.events where type = 'pod'"
        until(lambda: empty.ado.sql(told) == [("cluster_refused",)], "the log to tell")
    finally:
        SPAWNER_MAY.add(("secrets", "create"))
    placed(empty, 1)
    assert empty.pods() == empty.secrets()


def test_a_hundred_workers_are_requested_at_the_allowed_rate(empty):
    rate, burst, at_once = 40, 20, 10
    empty.queue(100)
    limits = {"ADO_KUBE_QPS": str(rate), "ADO_KUBE_BURST": str(burst), "ADO_KUBE_IN_FLIGHT": str(at_once)}
    empty.add_spawner(**LIMIT, **limits)
    placed(empty, 100)
    times = [at for at, verb, _ in empty.fake.requests if verb in ("create", "get", "delete")]
    assert len(times) == 200  # a pod and a Secret each
    for number, begun in enumerate(times):
        for later, ended in enumerate(times[number:], 1):
            allowed = burst + rate * (ended - begun) + at_once  # calls that were allowed earlier and arrive late
            assert later <= allowed, "faster than allowed"
    one_pod_a_decision(empty)


def test_a_namespace_of_300_pods_is_filled_once_watched_and_emptied(empty):
    task = empty.queue(300)
    quick = {**LIMIT, "ADO_KUBE_QPS": "150", "ADO_KUBE_BURST": "100"}
    empty.add_spawner(**quick)
    empty.add_spawner(**quick)
    placed(empty, 300, 90)
    assert len(empty.pods()) == empty.decisions() == 300
    empty.fake.store.compact()  # the list that follows comes in pages
    empty.cancel(task)
    empty.until_clean(90)
    one_pod_a_decision(empty)


def test_the_limit_of_the_namespace_holds_for_several_spawners(empty):
    empty.queue(10)
    empty.add_spawner(ADO_MAX_WORKERS="3")
    empty.add_spawner(ADO_MAX_WORKERS="3")
    placed(empty, 3)
    empty.queue(1)
    empty.add_spawner(ADO_MAX_WORKERS="4")
    placed(empty, 4)
    assert len(empty.pods()) == 4


def test_changes_without_a_spawner_are_handled_at_its_start(empty):
    """A missing pod is replaced, one without a request is removed, and those of others are left alone."""
    empty.queue(2)
    spawner = empty.add_spawner()
    placed(empty, 2)
    spawner.kill()
    spawner.wait()
    gone, kept = empty.pods()
    empty.delete(gone, grace_period_seconds=0)
    stray = empty.fake.store.get("pods", empty.namespace, kept)
    del stray["spec"]["nodeName"]
    stray["metadata"] = {"name": "stray", "labels": {**stray["metadata"]["labels"], "ado/decision": "99"}}
    empty.fake.store.create("pods", empty.namespace, stray)
    foreign = {**stray, "metadata": {"name": "foreign", "labels": {"ado/installation": "theirs"}}}
    empty.fake.store.create("pods", empty.namespace, foreign)
    empty.add_spawner()
    until(lambda: empty.decisions() == 3, "a pod in place of the one that went")
    until(lambda: "stray" not in empty.pods() and len(empty.pods()) == 2, "the stray pod to go")
    assert kept in empty.pods()
    assert empty.fake.store.get("pods", empty.namespace, "foreign")


def test_the_pod_of_a_lost_node_is_deleted_after_its_lease(fake):
    fake.add_spawner()
    watching = fake.ado.open("run", "--remote", "--agent", "shell", "[ $ADO_ATTEMPT = 2 ] || sleep 300")
    (name,) = until(lambda: fake.ado.sql("select worker_id from ado.jobs where status = 'running'"), "a job", 60)[0]
    lose_node(fake, name)
    until(lambda: [told["reason"] for (told,) in pod_events(fake)] == ["node_lost"], "the log to tell")
    assert name in fake.pods()  # its worker still beats: nobody knows that the node is gone
    container = fake.fake.kubelet.containers[fake.fake.store.get("pods", fake.namespace, name)["metadata"]["uid"]]
    container.kill()
    assert watching.wait(60) == 0
    requeued = [event for event in fake.ado.events("task-1") if event["type"] == "requeued"]
    assert [(event["reason"], event["workerId"]) for event in requeued] == [("lost", name)]
    fake.until_clean()


def lose_node(bench, name):
    """Let a node fall silent: its pod is still shown as running, and is marked for deletion."""
    store, kubelet = bench.fake.store, bench.fake.kubelet
    condition = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
                 "message": "Taint manager: deleting due to NoExecute taint"}  # fmt: skip
    kubelet.lost.add(store.get("pods", bench.namespace, name)["metadata"]["uid"])
    store.update("pods", bench.namespace, name, lambda item: item["status"]["conditions"].append(condition))
    store.delete("pods", bench.namespace, name, {})


def test_the_calls_are_exactly_those_that_the_role_allows(fake):
    """A whole life, a 409 included, uses every right that it has; the rights themselves are in deploy."""

    def lose_the_answer(proceed):
        proceed()

    fake.fake.trouble("create", "pods", lose_the_answer)
    fake.add_spawner()
    fake.run("true", check=0)
    fake.until_clean()
    admin = {("pods", "list"), ("secrets", "list")}
    assert {(resource, verb) for _, verb, resource in fake.fake.requests} == SPAWNER_MAY | admin
