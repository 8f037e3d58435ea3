"""An unmodified ``@trpc/client`` under Node: every link, every class of error, resumption, hand-over."""

import json
import signal

import pytest
from support.program import until
from support.proxy import Proxy

CALL_LINKS = ["http", "batch", "batch-one", "stream", "ws"]
SUBSCRIPTION_LINKS = ["sse", "ws"]
SCRIPT = "for i in 1 2 3; do echo line $i; done"


def numbers(lines):
    return [int(line["item"]["id"]) for line in lines if "item" in line]


def text(lines):
    return "".join(line["item"]["data"]["data"] for line in lines if line.get("item", {}).get("data", {}).get("data"))


@pytest.mark.parametrize("link", CALL_LINKS)
def test_every_link_reads_and_writes(shared_cluster, driver, link):
    created, listed, missing = driver.calls(
        shared_cluster.urls[0],
        link,
        [
            "tasks.create",
            "mutate",
            {"prompt": "é😀", "agent": "shell", "labels": {"a": "b"}},
        ],
        ["users.list", "query", None],
        ["tasks.get", "query", {"taskId": "task-99"}],
    )
    assert created["ok"]["prompt"] == "é😀"
    assert listed["ok"] == {"items": [], "roles": []}
    assert missing["name"] == "TRPCClientError"
    assert (missing["code"], missing["data"]["reason"], missing["data"]["httpStatus"]) == (
        "NOT_FOUND",
        "no_such_task",
        404,
    )
    (found,) = driver.calls(shared_cluster.urls[1], link, ["tasks.get", "query", {"taskId": created["ok"]["taskId"]}])
    assert found["ok"] == created["ok"]


@pytest.mark.parametrize("link", CALL_LINKS)
def test_every_error_reaches_the_caller_with_code_reason_and_hint(shared_cluster, driver, link):
    task = shared_cluster.ado("run", "--remote", "--detach", "--agent", "shell", "-o", "name", "x", check=0)
    name = task.stdout.decode().strip()
    cases = [
        (["tasks.get", "query", {"taskId": 5}], "BAD_REQUEST", "invalid_input"),
        (["tasks.create", "mutate", {"prompt": "x", "env": {"ADO_X": "1"}}], "BAD_REQUEST", "invalid_input"),
        (["tasks.update", "mutate", {"taskId": name, "version": 77}], "CONFLICT", "version_conflict"),
        (["tasks.nope", "query", None], "NOT_FOUND", None),
    ]
    found = driver.calls(shared_cluster.urls[0], link, *(call for call, _, _ in cases if call[1] == "query"))
    found += driver.calls(shared_cluster.urls[0], link, *(call for call, _, _ in cases if call[1] == "mutate"))
    ordered = [case for case in cases if case[0][1] == "query"] + [case for case in cases if case[0][1] == "mutate"]
    for (call, code, reason), answer in zip(ordered, found, strict=True):
        assert answer["code"] == code, (call, answer)
        if reason:
            assert answer["data"]["reason"] == reason
            assert answer["data"]["hint"]
        assert "stack" not in answer["data"]


@pytest.mark.parametrize("link", CALL_LINKS)
def test_every_call_reports_bad_credentials_and_missing_rights(shared_cluster, driver, link):
    calls = [["workers.list", "query", None], ["tasks.list", "query", {"limit": 1}]]
    driver.token = "nonsense"
    assert [answer["code"] for answer in driver.calls(shared_cluster.urls[0], link, *calls)] == ["UNAUTHORIZED"] * 2
    driver.token = shared_cluster.make_token("viewer")
    (answer,) = driver.calls(shared_cluster.urls[0], link, ["tasks.create", "mutate", {"prompt": 5}])
    assert (answer["code"], answer["data"]["reason"]) == ("FORBIDDEN", "forbidden")


@pytest.mark.parametrize("link", ["http", "batch", "stream"])
def test_a_value_over_its_limit_is_refused_with_the_limit(shared_cluster, driver, link):
    (answer,) = driver.calls(
        shared_cluster.urls[0], link, ["tasks.create", "mutate", {"prompt": "x", "env": {"A": "y" * 70_000}}]
    )
    assert (answer["code"], answer["data"]["reason"]) == ("BAD_REQUEST", "limit_exceeded")


@pytest.mark.parametrize("link", SUBSCRIPTION_LINKS)
def test_a_subscription_follows_a_task_to_its_end(cluster, driver, link):
    cluster.add_worker("w1")
    task = cluster.ado("run", "--remote", "--agent", "shell", "-o", "name", SCRIPT, check=0).stdout.decode().split()[-1]
    lines = driver.follow(cluster.urls[0], link, "stream.taskEvents", {"taskId": task})
    assert lines[0] == {"state": "started"}
    assert lines[-2:] == [{"state": "stopped"}, {"state": "complete"}]
    assert numbers(lines) == list(range(1, len(numbers(lines)) + 1))
    assert text(lines) == "line 1\nline 2\nline 3\n"
    assert lines[-3]["item"]["data"]["type"] == "succeeded"


@pytest.mark.parametrize("link", SUBSCRIPTION_LINKS)
@pytest.mark.parametrize(
    ("value", "code"), [({"taskId": "task-99"}, "NOT_FOUND"), ({"taskId": 5}, "BAD_REQUEST"), (None, "BAD_REQUEST")]
)
def test_a_subscription_that_cannot_start_gives_the_reason(shared_cluster, driver, link, value, code):
    lines = driver.follow(shared_cluster.urls[0], link, "stream.taskEvents", value)
    assert [line["code"] for line in lines if "error" in line] == [code]


@pytest.mark.parametrize("link", SUBSCRIPTION_LINKS)
def test_a_subscription_resumes_after_cuts_on_any_replica_without_loss_or_double(cluster, driver, home, link):
    cluster.add_worker("w1")
    print_some = "for i in $(seq 1 20); do echo $i; sleep 0.1; done"
    print_rest = "for i in $(seq 21 40); do echo $i; done"
    task = cluster.ado(
        "run", "--remote", "--detach", "--agent", "shell", "-o", "name",
        f"{print_some}; until [ -e {home / 'go'} ]; do sleep 0.1; done; {print_rest}", check=0,
    ).stdout.decode().strip()  # fmt: skip
    with (
        Proxy(cluster.urls) as proxy,
        driver.start(proxy.url, link, "stream.taskEvents", {"taskId": task}) as process,
    ):
        lines = []
        for cut_after in (5, 15):
            while len(numbers(lines)) < cut_after:
                lines.append(json.loads(process.stdout.readline()))
            until(proxy.is_open, "the client to be back")  # the lines may be older than the last cut
            proxy.cut()
        (home / "go").touch()  # not before the cuts: a client that has everything does not come back
        lines += [json.loads(line) for line in process.stdout]
        assert proxy.taken >= 3
    assert numbers(lines) == list(range(1, len(numbers(lines)) + 1))
    assert text(lines) == "".join(f"{i}\n" for i in range(1, 41))
    assert not [line for line in lines if "error" in line]


@pytest.mark.parametrize("link", SUBSCRIPTION_LINKS)
def test_subscribers_of_a_drained_replica_move_to_another_one(cluster, driver, link):
    cluster.add_worker("w1", url=cluster.urls[1])
    task = cluster.ado(
        "run", "--remote", "--detach", "--agent", "shell", "-o", "name",
        "for i in $(seq 1 30); do echo $i; sleep 0.1; done", check=0,
    ).stdout.decode().strip()  # fmt: skip
    with (
        Proxy(cluster.urls) as proxy,
        driver.start(proxy.url, link, "stream.taskEvents", {"taskId": task}) as process,
    ):
        lines = []
        while len(numbers(lines)) < 4:
            lines.append(json.loads(process.stdout.readline()))
        cluster.replicas[0].send_signal(signal.SIGTERM)
        lines += [json.loads(line) for line in process.stdout]
    assert numbers(lines) == list(range(1, len(numbers(lines)) + 1))
    assert text(lines) == "".join(f"{i}\n" for i in range(1, 31))
    assert lines[-1] == {"state": "complete"}
    assert cluster.replicas[0].wait(60) == 0


def test_a_clients_keep_alive_is_answered_while_it_waits(shared_cluster, driver):
    task = shared_cluster.ado("run", "--remote", "--detach", "--agent", "shell", "-o", "name", "x", check=0)
    name = task.stdout.decode().strip()
    keep = {"enabled": True, "intervalMs": 50, "pongTimeoutMs": 60_000}
    with driver.start(shared_cluster.urls[0], "ws", "stream.taskEvents", {"taskId": name}, keepAlive=keep) as process:
        assert json.loads(process.stdout.readline()) == {"state": "started"}
        assert json.loads(process.stdout.readline())["item"]["id"] == "1"
        answered = [json.loads(process.stdout.readline()) for _ in range(3)]
        shared_cluster.ado("cancel", name, check=0)
        lines = [json.loads(line) for line in process.stdout]
    assert answered == [{"pong": True}] * 3
    assert lines[-1] == {"state": "complete"}
    assert [line for line in lines if line.get("state") == "started"] == []


def test_revocation_ends_a_subscription_with_an_error_not_an_end(shared_cluster, driver):
    made = json.loads(shared_cluster.ado("token", "create", "--role", "viewer", "-o", "json", check=0).stdout)
    task = shared_cluster.ado("run", "--remote", "--detach", "--agent", "shell", "-o", "name", "x", check=0)
    driver.token = made["token"]
    for link in SUBSCRIPTION_LINKS:
        driver.token = made["token"]
        with driver.start(
            shared_cluster.urls[0], link, "stream.taskEvents", {"taskId": task.stdout.decode().strip()}
        ) as process:
            while "item" not in process.stdout.readline():
                pass
            shared_cluster.ado("token", "revoke", made["tokenId"], check=0)
            lines = [json.loads(line) for line in process.stdout]
        assert lines[-1]["code"] == "UNAUTHORIZED"
        assert {"state": "complete"} not in lines
        made = json.loads(shared_cluster.ado("token", "create", "--role", "viewer", "-o", "json", check=0).stdout)
