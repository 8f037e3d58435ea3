"""The same idempotencyKey with the same input is the same task, however the input is written."""

import hashlib
import itertools

import orjson
import pytest
from support.program import Cluster

from app.rpc.client import CallError, HttpClient

_keys = itertools.count()


@pytest.fixture(scope="module")
def shared(shared_dsn, tmp_path_factory):
    """Two replicas for all tests of the module."""
    cluster = Cluster(shared_dsn, tmp_path_factory.mktemp("idempotency"))
    try:
        yield cluster.add_replicas(2)
    finally:
        cluster.close()


@pytest.fixture
def calls(shared):
    client = HttpClient(shared.urls, shared.token)
    yield client
    client.close()


SAME = [
    ({}, {"agent": "shell"}),
    ({}, {"workers": 1, "priority": 0, "retries": 0, "onFailure": "continue"}),
    ({}, {"requires": [], "env": {}, "labels": {}, "resources": {}}),
    ({}, {"resources": {"cpu": 0, "memory": 0.0}, "workspace": {}}),
    ({}, dict.fromkeys(["agent", "workers", "requires", "timeoutSeconds", "workspace", "agentArgs", "labels", "pod"])),
    ({}, {"unknown": 1}),
    ({"requires": ["a", "b"]}, {"requires": ["b", "a", "b"]}),
    ({"timeoutSeconds": 60}, {"timeoutSeconds": 60.0}),
    ({"labels": {"a": "1", "b": "2"}}, {"labels": {"b": "2", "a": "1"}}),
    ({"workspace": {"commit": "a" * 40}}, {"workspace": {"commit": "a" * 40, "push": False, "shallow": []}}),
    ({"env": {"A": "1"}}, {"env": {"A": "1"}, "startWithinSeconds": None}),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_equivalent_inputs_give_one_task(calls, one, other):
    base = {"prompt": "true", "idempotencyKey": f"key-{next(_keys)}"}
    assert calls.mutate("tasks.create", base | one)["taskId"] == calls.mutate("tasks.create", base | other)["taskId"]


@pytest.mark.parametrize(
    "other",
    [
        {"prompt": "false"},
        {"agent": "other"},
        {"workers": 2},
        {"requires": ["a"]},
        {"env": {"A": "1"}},
        {"labels": {"a": "1"}},
        {"agentArgs": {"model": "m"}},
        {"timeoutSeconds": 1},
        {"startWithinSeconds": 1},
        {"trustProject": True},
        {"resources": {"cpu": 1}},
        {"onFailure": "fail_fast"},
    ],
)
def test_another_input_is_a_conflict(calls, other):
    base = {"prompt": "true", "idempotencyKey": f"key-{next(_keys)}"}
    calls.mutate("tasks.create", base)
    with pytest.raises(CallError) as refused:
        calls.mutate("tasks.create", base | other)
    assert refused.value.reason == "idempotency_conflict"


def test_a_task_of_release_0_1_0_is_still_found_by_its_key(shared, calls):
    wish = {"prompt": "true", "idempotencyKey": "old"}
    made = calls.mutate("tasks.create", wish)["taskId"]
    members = wish | {"resources": {"cpu": 0, "memory": 0, "gpu": 0}}
    digest = hashlib.sha256(orjson.dumps(members, option=orjson.OPT_SORT_KEYS)).digest()
    assert shared.sql("update ado.tasks set input_digest = %s where idempotency_key = 'old' returning 1", digest)
    assert calls.mutate("tasks.create", wish)["taskId"] == made


def test_null_for_a_required_member_is_refused(calls):
    with pytest.raises(CallError) as refused:
        calls.mutate("tasks.create", {"prompt": None})
    assert (refused.value.reason, refused.value.data["field"]) == ("invalid_input", "prompt")
