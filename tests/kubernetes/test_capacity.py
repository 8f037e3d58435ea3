"""Waiting for room, for a quota, a node or the cluster itself: what waits, what fails, and what people are shown."""

import json
import time

import pytest
from support.kube.bench import placed, pod_events
from support.kube.scheduler import Node
from support.kube.server import SPAWNER_MAY
from support.kube.store import ApiError
from support.program import until

from app.spawner.backends.kubernetes import Cluster
from app.spawner.backends.pod_watch import PodWatch
from app.spawner.backends.rate_limit import TokenBucket

REASONS = "select reason from ado.pod_status where state in ('wanted', 'placed') order by pod"
AN_HOUR_AGO = """update ado.pods set requested_at = requested_at - interval '1 hour',
                 reason_since = reason_since - interval '1 hour' returning name"""


def occupy(bench, cpu):
    """Fill the node with a pod of somebody else."""
    container = {"name": "w", "image": "ado:test", "resources": {"requests": {"cpu": cpu}, "limits": {"cpu": cpu}}}
    given = {"metadata": {"name": "theirs", "labels": {}}, "spec": {"containers": [container]}}
    bench.fake.store.create("pods", bench.namespace, given)
    until(lambda: bench.fake.store.get("pods", bench.namespace, "theirs")["status"]["phase"] == "Running", "the pod")


def shown(bench, task="task-1"):
    """Return what a task's first job says of its pod."""
    return bench.ado.task(task)["jobs"][0].get("pod", {})


def test_jobs_wait_for_room_without_a_limit_and_without_events(empty):
    empty.fake.kubelet.nodes = [Node("node-1", cpu=1)]
    occupy(empty, "950m")
    empty.queue(20)
    empty.add_spawner(ADO_PENDING_SECONDS="1", ADO_MAX_WORKERS="30")
    placed(empty, 20)
    until(lambda: empty.ado.sql(REASONS) == [("no_room",)] * 20, "all to be shown")
    time.sleep(4)  # longer than a pod that can never run may stay, and than the log's grace
    assert empty.ado.sql("select status, count(*) from ado.jobs group by status") == [("queued", 20)]
    assert pod_events(empty) == []
    ((unmet, help_),) = empty.ado.sql("select distinct unmet, split_part(help, ': ', 2) from ado.why_pending")
    assert (unmet, help_) == ("no_room", "0/1 nodes are available")
    empty.fake.store.remove("pods", empty.namespace, "theirs")
    until(lambda: (None,) in empty.ado.sql(REASONS), "the room to be used")
    assert empty.decisions() == 20


def test_a_pod_larger_than_every_node_fails_its_job(fake):
    fake.fake.kubelet.nodes = [Node("node-1", cpu=2), Node("node-2", cpu=1)]
    fake.add_spawner(ADO_PENDING_SECONDS="1")
    fake.run("--cpu", "3", "true", check=125)
    job = fake.ado.task("task-1")["jobs"][0]
    assert job["reason"] == "unschedulable"
    assert job["message"].startswith("0/2 nodes are available: 2 Insufficient cpu.")
    fake.until_clean()


def test_a_pod_that_fits_no_node_is_explained_by_the_message_of_the_cluster(fake):
    fake.add_spawner(ADO_PENDING_SECONDS="600")
    task = fake.begin("--node-selector", "ado-test/nowhere=true", "true")
    until(lambda: shown(fake).get("reason") == "unschedulable", "the job to show it")
    words = b"unschedulable: 0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
    for command in (("explain", task), ("tasks", "show", task)):
        said = fake.ado.ado(*command, check=0).stdout
        assert words in said
        assert b"correct --node-selector" in said
        assert b"registered" not in said
    why = json.loads(fake.ado.ado("explain", task, "-o", "json", check=0).stdout)
    assert [worker["unmet"] for worker in why["workers"]] == ["unschedulable"]
    fake.ado.ado("cancel", task, check=0)
    fake.until_clean()


@pytest.mark.parametrize(
    ("quotas", "limits", "reason", "words"),
    [
        ({}, {"cpu": "50m"}, "limit_range", "maximum cpu usage per Container is 50m, but limit is 100m"),
        ({"requests.cpu": "50m"}, {}, "quota_too_small", "limited: requests.cpu=50m"),
        ({"pods": "0"}, {}, "quota_too_small", "limited: pods=0"),
    ],
)
def test_a_pod_that_the_namespace_never_admits_fails_its_job(fake, quotas, limits, reason, words):
    fake.fake.quotas |= quotas
    fake.fake.limits |= limits
    fake.add_spawner(ADO_PENDING_SECONDS="600", ADO_POD_RETRY_SECONDS="600")
    done = fake.run("true", check=125)
    job = fake.ado.task("task-1")["jobs"][0]
    assert job["reason"] == reason
    assert words in job["message"]
    assert b"--cpu" in done.stderr
    fake.until_clean()


def test_each_end_of_a_pod_frees_the_quota_without_delay(fake):
    fake.fake.quotas["requests.cpu"] = "200m"
    fake.add_spawner(ADO_POD_RETRY_SECONDS="600", ADO_PENDING_SECONDS="20")
    fake.run("--workers", "6", "true", check=0)
    assert [told["reason"] for (told,) in pod_events(fake)] in ([], ["quota"])
    fake.until_clean()


def test_waiting_for_the_cluster_is_shown_and_is_not_silence(fake):
    fake.add_spawner(ADO_PENDING_SECONDS="30")
    until(lambda: fake.fake.count("watch", "pods"), "the spawner to watch")
    fake.fake.stop()
    task = fake.begin("true")
    until(lambda: shown(fake).get("reason") == "cluster_away", "the job to show it")
    assert b"cluster_away" in fake.ado.ado("explain", task, check=0).stdout
    fake.ado.sql(AN_HOUR_AGO)
    fake.fake.start()
    assert fake.ado.ado("wait", task, timeout=60).returncode == 0
    assert fake.ado.task(task)["status"] == "succeeded"
    fake.until_clean()


def test_a_spawner_knows_since_when_the_cluster_answers_without_a_break(empty, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(empty.fake.kubeconfig))
    cluster = Cluster(empty.namespace, TokenBucket(100, 100), request_seconds=5, connections=2)
    watch = PodWatch(cluster, "ado/installation=i", seconds=1)
    assert watch.followed_seconds() == 0
    watch.start()
    try:
        until(lambda: watch.followed_seconds() > 1.5, "more than one watch")
        empty.fake.cut()
        time.sleep(0.5)
        assert watch.followed_seconds() > 1.5  # a connection that breaks is no outage
        empty.fake.stop()
        until(lambda: watch.followed_seconds() == 0, "the outage to be noticed")
        began = time.monotonic()
        empty.fake.start()
        until(lambda: watch.followed_seconds() > 0, "the cluster to answer again")
        assert watch.followed_seconds() < time.monotonic() - began  # the time has begun again
    finally:
        watch.stop()
        cluster.close()


def test_the_age_of_a_pod_begins_again_when_there_is_room(empty):
    empty.fake.kubelet.nodes = [Node("node-1", cpu=1)]
    occupy(empty, "1")
    empty.queue(1)
    empty.add_spawner(ADO_PENDING_SECONDS="4")
    until(lambda: empty.ado.sql(REASONS) == [("no_room",)], "the pod to wait")
    time.sleep(5)
    empty.fake.store.remove("pods", empty.namespace, "theirs")
    until(lambda: empty.ado.sql(REASONS) == [(None,)], "the pod to start")
    age = empty.ado.sql("select extract(epoch from now() - starting_since)::float from ado.pods")[0][0]
    assert age < 5  # it had waited for longer
    silent = "select reason from ado.jobs where status = 'failed'"
    until(lambda: empty.ado.sql(silent) == [("pod_silent",)], "the silence to count from then on")


def test_a_temporary_refusal_of_the_cluster_is_retried_soon(empty):
    def not_yet(proceed):
        said = 'pods "p" is forbidden: error looking up service account ado-test/default: not found'
        raise ApiError(403, "Forbidden", said)

    def conflict(proceed):
        said = 'Operation cannot be fulfilled on resourcequotas "q": the object has been modified'
        raise ApiError(409, "Conflict", said)

    empty.fake.trouble("create", "pods", not_yet, times=3)
    empty.fake.trouble("create", "pods", conflict, times=3)
    empty.queue(3)
    empty.add_spawner(ADO_POD_RETRY_SECONDS="600")
    placed(empty, 3)
    assert empty.fake.count("get", "pods") == 0
    assert pod_events(empty) == []


def test_a_right_that_is_granted_later_is_used_soon(empty):
    SPAWNER_MAY.discard(("pods", "create"))
    try:
        empty.queue(1)
        empty.add_spawner(ADO_POD_RETRY_SECONDS="600")
        until(lambda: empty.ado.sql(REASONS) == [("cluster_refused",)], "the refusal to be shown")
    finally:
        SPAWNER_MAY.add(("pods", "create"))
    placed(empty, 1)


def test_pods_of_a_task_with_one_problem_report_it_once(empty):
    empty.fake.kubelet.images.clear()
    empty.queue(8)
    empty.add_spawner(ADO_IMAGE_PULL_SECONDS="600")
    until(lambda: empty.ado.sql(REASONS) == [("image_pull",)] * 8, "all to be shown")
    until(lambda: pod_events(empty), "the log to tell")
    until(lambda: empty.ado.sql("select count(*) from ado.pods where told is not null") == [(8,)], "all to be told of")
    assert len(pod_events(empty)) == 1


def test_a_job_on_a_dead_node_is_requeued_with_a_message(fake):
    """The cluster notices nothing: the lease alone does, and the next pod must not go to the same node."""
    kubelet = fake.fake.kubelet
    kubelet.nodes = [Node("node-1"), Node("node-2")]
    fake.add_spawner()
    watching = fake.ado.open("run", "--remote", "--agent", "shell", "[ $ADO_ATTEMPT = 2 ] || sleep 300")
    (name,) = until(lambda: fake.ado.sql("select worker_id from ado.jobs where status = 'running'"), "a job", 60)[0]
    lost = fake.fake.store.get("pods", fake.namespace, name)["spec"]["nodeName"]
    kubelet.lose(lost)
    assert watching.wait(60) == 0
    (told,) = fake.told("task-1")
    assert (told["reason"], told["pod"]) == ("node_lost", name)
    assert f"node {lost}" in told["message"]
    nodes = {item["spec"].get("nodeName") for _, kind, type_, item in fake.fake.store.log
             if (kind, type_) == ("pods", "MODIFIED") and item["metadata"]["name"] != name}  # fmt: skip
    assert nodes - {None} == {"node-1", "node-2"} - {lost}
    fake.until_clean()  # the old pod and its Secret too, although its node says nothing


def test_a_waiting_pod_on_a_dead_node_is_replaced_without_a_loss(empty):
    kubelet = empty.fake.kubelet
    kubelet.nodes = [Node("node-1")]
    kubelet.second = 0.02
    empty.queue(1)
    empty.add_spawner()
    placed(empty, 1)
    first = empty.pods()
    until(lambda: empty.fake.store.get("pods", empty.namespace, first[0])["spec"].get("nodeName"), "its node")
    kubelet.lose("node-1")
    kubelet.notice("node-1")
    kubelet.nodes.append(Node("node-2"))
    until(lambda: empty.decisions() == 2, "another pod")
    until(lambda: first[0] not in empty.pods() + empty.secrets(), "the old one to go")
    assert empty.ado.sql("select losses, status from ado.jobs") == [(0, "queued")]
    assert [told["reason"] for (told,) in pod_events(empty)] == ["node_lost"]
