"""An invalid value is refused by the name of its field, and affects no other call."""

import contextlib

import pytest
from support.program import PATIENT, Cluster

from app.rpc.client import CallError, Client, HttpClient

WORKER = {"workerId": "raw", "capabilities": ["shell"], "instance": "1"}


@contextlib.contextmanager
def clients(cluster):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(contextlib.closing(HttpClient([url], cluster.token))) for url in cluster.urls]


@pytest.fixture
def cluster(dsn, home):
    """Two replicas whose leases outlast a test: the worker that the test is sends no heartbeats."""
    made = Cluster(dsn, home, env=PATIENT)
    try:
        yield made.add_replicas(2)
    finally:
        made.close()


@pytest.fixture
def replicas(cluster):
    """A client at each replica of the test's own."""
    with clients(cluster) as made:
        yield made


@pytest.fixture
def empty_replicas(shared_cluster):
    """A client at each replica of the module's; no test leaves a task or a worker there."""
    with clients(shared_cluster) as made:
        yield made


def refused(call, path, value):
    with pytest.raises(CallError) as caught:
        call(path, value)
    return caught.value.code, caught.value.reason, caught.value.data.get("field")


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("tasks.create", {}, "prompt"),
        ("tasks.create", {"prompt": "a\0"}, "prompt"),
        ("tasks.create", {"prompt": "x", "env": {"A\0": "1"}}, "env"),
        ("tasks.create", {"prompt": "x", "env": {"A": "\0"}}, "env"),
        ("tasks.create", {"prompt": "x", "labels": {"a": "\0"}}, "labels"),
        ("tasks.create", {"prompt": "x", "requires": ["\0"]}, "requires"),
        ("tasks.create", {"prompt": "x", "resources": {"cpu": -1}}, "resources.cpu"),
        ("tasks.update", {"taskId": "task-1", "version": 1, "labels": {"a\0": "b"}}, "labels"),
        ("tasks.update", {"taskId": "task-1", "version": 2**40}, "version"),
        ("tasks.cancel", {"taskId": "task-1", "reason": "\0"}, "reason"),
        ("tasks.kvSet", {"taskId": "task-1", "key": "\0", "value": 1}, "key"),
        ("tasks.kvSet", {"taskId": "task-1", "key": "k", "value": "x" * 65_535}, "value"),
        ("workers.register", {**WORKER, "resources": {"cpu": -1}}, "resources.cpu"),
        ("workers.register", {**WORKER, "capabilities": ["\0"]}, "capabilities"),
        ("workers.register", {**WORKER, "workerId": "a\0"}, "workerId"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_by_its_field_and_stores_nothing(empty_replicas, path, value, field):
    first, second = empty_replicas
    found = refused(first.mutate, path, value)
    assert found[0] == "BAD_REQUEST"
    assert found[2] == field
    assert second.query("tasks.list", {}) == {"items": []}
    assert second.query("workers.list", {}) == {"items": []}


def test_an_invalid_cursor_is_refused_by_the_field_name(empty_replicas):
    assert refused(empty_replicas[0].query, "tasks.list", {"cursor": "x"}) == ("BAD_REQUEST", "invalid_input", "cursor")


async def test_since_and_tail_combine(replicas, cluster):
    first, second = replicas
    task = first.mutate("tasks.create", {"prompt": "x", "agent": "nobody"})["taskId"]
    second.mutate("tasks.cancel", {"taskId": task})
    wish = {"taskId": task, "follow": False, "since": 3600, "tail": 1}
    async with Client(cluster.urls, cluster.token) as client:
        found = [item.data["type"] async for item in client.subscribe("stream.taskEvents", wish)]
    assert found == ["cancelled"]


async def test_a_finished_job_is_not_reported_as_lost(replicas, cluster):
    first, second = replicas
    session = first.mutate("workers.register", {**WORKER, "slots": 5})["session"]
    task = first.mutate("tasks.create", {"prompt": "x", "agent": "shell", "workers": 2})["taskId"]
    mine = {"workerId": "raw", "session": session}
    assert len(first.mutate("workers.claim", {**mine, "limit": 2})["jobs"]) == 2
    second.mutate("tasks.cancel", {"taskId": task})
    async with Client(cluster.urls, cluster.token) as client:
        stream = client.subscribe("workers.commands", mine)
        told = [(await anext(stream)).data for _ in range(2)]
        second.mutate("workers.finish", {"workerId": "raw", "jobId": f"{task}/0", "attempt": 1, "outcome": "cancelled"})
        cluster.sql("update ado.jobs set lease_expires_at = now() - interval '1 minute' where job = 1 returning 1")
        told.append((await anext(stream)).data)
        second.mutate("workers.drain", {"workerId": "raw"})
        told.append((await anext(stream)).data)
        await stream.aclose()
    assert [(command["type"], command.get("jobId")) for command in told] == [
        ("cancel", f"{task}/0"),
        ("cancel", f"{task}/1"),
        ("lost", f"{task}/1"),
        ("drain", None),
    ]
