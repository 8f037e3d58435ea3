"""An operator, or a worker, that sends too much: every size that a caller chooses has a bound."""

import contextlib

import pytest

from app.rpc.client import CallError, HttpClient

KIB = 1024


def nested(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.fixture
def admin(cluster):
    with contextlib.closing(HttpClient(cluster.urls, cluster.token)) as client:
        yield client


def refused(client, procedure, value):
    with pytest.raises(CallError) as error:
        client.mutate(procedure, value)
    return error.value.code, error.value.reason


TOO_LARGE = [
    ("tasks.create", {"prompt": "x" * (KIB * KIB + 1)}),
    ("tasks.create", {"prompt": "x", "workers": 1001}),
    ("tasks.create", {"prompt": "x", "env": {"A": "x" * 64 * KIB}}),
    ("tasks.create", {"prompt": "x", "env": {f"A{n}": "x" for n in range(20_000)}}),
    ("tasks.create", {"prompt": "x", "labels": {"a": "x" * 16 * KIB}}),
    ("tasks.create", {"prompt": "x", "labels": {f"a{n}": "" for n in range(3000)}}),
    ("tasks.create", {"prompt": "x", "requires": [f"c{n}" for n in range(101)]}),
    ("tasks.create", {"prompt": "x", "agentArgs": {"a": "x" * 64 * KIB}}),
    ("tasks.create", {"prompt": "x", "pod": {"nodeSelector": {"a": "x" * 16 * KIB}}}),
    ("tasks.update", {"taskId": "task-1", "version": 1, "labels": {"a": "x" * 16 * KIB}}),
    ("tasks.kvSet", {"taskId": "task-1", "key": "k", "value": "x" * 64 * KIB}),
    ("templates.save", {"name": "t", "task": {"prompt": "x" * (KIB * KIB + 1)}}),
    ("templates.save", {"name": "t", "task": {"prompt": "x", "labels": {"a": "x" * 16 * KIB}}}),
    ("schedules.add", {"cron": "0 3 * * *", "template": "t", "variables": {"a": "x" * 4 * KIB}}),
    ("workers.scale", {"count": 1, "capabilities": ["x" * 2000]}),
    ("workers.register", {"workerId": "w", "capabilities": [f"c{n}" for n in range(201)]}),
    ("workers.register", {"workerId": "w", "labels": {"a": "x" * 16 * KIB}}),
    ("workers.heartbeat", {"workerId": "w", "session": "s", "load": "x" * 4 * KIB}),
    (
        "workers.finish",
        {"workerId": "w", "jobId": "task-1/0", "attempt": 1, "outcome": "failed", "result": "x" * KIB * KIB},
    ),
    (
        "workers.finish",
        {"workerId": "w", "jobId": "task-1/0", "attempt": 1, "outcome": "failed", "usage": {"a": "x" * 4 * KIB}},
    ),
]
TOO_DEEP = [
    ("tasks.create", {"prompt": "x", "agentArgs": nested(300)}),
    ("tasks.kvSet", {"taskId": "task-1", "key": "k", "value": nested(300)}),
    ("workers.heartbeat", {"workerId": "w", "session": "s", "load": nested(300)}),
    (
        "workers.finish",
        {"workerId": "w", "jobId": "task-1/0", "attempt": 1, "outcome": "failed", "result": nested(300)},
    ),
]


def test_each_size_that_a_caller_chooses_is_refused_beyond_its_limit(admin):
    admin.mutate("tasks.create", {"prompt": "x"})
    for procedure, value in TOO_LARGE:
        assert refused(admin, procedure, value) == ("BAD_REQUEST", "limit_exceeded"), (procedure, list(value))
    for procedure, value in TOO_DEEP:
        assert refused(admin, procedure, value) == ("BAD_REQUEST", "invalid_input"), (procedure, list(value))
    assert len(admin.query("tasks.list", {})["items"]) == 1


def test_the_values_of_a_task_are_bounded_together(admin):
    name = admin.mutate("tasks.create", {"prompt": "x"})["taskId"]
    value = "0" * 60_000  # compresses to almost nothing
    wish = {"taskId": name, "value": value}
    stored = 8 * KIB * KIB // 60_010
    for number in range(stored):
        admin.mutate("tasks.kvSet", {**wish, "key": f"k{number}"})
    with pytest.raises(CallError, match="at most 8388608 bytes"):
        admin.mutate("tasks.kvSet", {**wish, "key": "more"})
    assert refused(admin, "tasks.kvCas", {**wish, "key": "more", "version": 0}) == ("BAD_REQUEST", "limit_exceeded")
    assert admin.mutate("tasks.kvCas", {**wish, "key": "k0", "version": 1})["version"] == 2
    assert refused(admin, "tasks.kvCas", {**wish, "key": "k0", "version": 1}) == ("CONFLICT", "version_conflict")
    assert len(admin.query("tasks.kvList", {"taskId": name})["items"]) == stored
