"""``tasks.remove`` as a program calls it, at either replica."""

import pytest

from app.rpc.client import CallError, HttpClient


@pytest.fixture
def calls(cluster):
    client = HttpClient(cluster.urls, cluster.token)
    yield client
    client.close()


def ended(calls):
    name = calls.mutate("tasks.create", {"prompt": "true", "agent": "nobody"})["taskId"]
    calls.mutate("tasks.cancel", {"taskId": name})
    return name


def refusal_of(call, *arguments):
    with pytest.raises(CallError) as refused:
        call(*arguments)
    return refused.value.reason, refused.value.hint


def test_a_removed_task_is_unknown_to_calls_and_readers(cluster, calls):
    name = ended(calls)
    assert calls.mutate("tasks.remove", {"taskId": name}) == {"taskId": name, "removed": True}
    for call, path in (
        (calls.query, "tasks.get"),
        (calls.mutate, "tasks.cancel"),
        (calls.mutate, "tasks.retry"),
        (calls.mutate, "tasks.remove"),
    ):
        assert refusal_of(call, path, {"taskId": name})[0] == "no_such_task", path
    assert refusal_of(calls.query, "tasks.kvList", {"taskId": name})[0] == "no_such_task"
    assert cluster.ado("logs", name).returncode == 127


def test_an_open_task_is_refused_with_the_next_step(calls):
    name = calls.mutate("tasks.create", {"prompt": "true", "agent": "nobody"})["taskId"]
    reason, hint = refusal_of(calls.mutate, "tasks.remove", {"taskId": name})
    assert (reason, "ado cancel" in hint) == ("task_running", True)
    assert calls.query("tasks.get", {"taskId": name})["status"] == "queued"


def test_the_cursor_of_a_removed_task_still_pages(calls):
    names = [ended(calls) for _ in range(5)]
    page = calls.query("tasks.list", {"limit": 2})
    assert page["nextCursor"] == names[3]
    calls.mutate("tasks.remove", {"taskId": names[3]})
    page = calls.query("tasks.list", {"limit": 2, "cursor": names[3]})
    assert [task["taskId"] for task in page["items"]] == [names[2], names[1]]


def test_the_idempotency_key_of_a_removed_task_makes_a_new_one(calls):
    wish = {"prompt": "true", "agent": "nobody", "idempotencyKey": "k"}
    first = calls.mutate("tasks.create", wish)["taskId"]
    calls.mutate("tasks.cancel", {"taskId": first})
    calls.mutate("tasks.remove", {"taskId": first})
    assert calls.mutate("tasks.create", wish)["taskId"] != first
