"""``ado audit`` on two replicas: changes and refusals with who, what and from where; a flood fills nothing."""

import http.client
import json

import pytest
from support.program import until
from websockets.sync.client import connect

from app.access.refused_calls import _BURST


def post(url, token, path, value, **headers):
    """Call a mutation; return the reason of its refusal, or None."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    try:
        headers |= {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
        connection.request("POST", f"/trpc/{path}", json.dumps(value), headers)
        found = json.loads(connection.getresponse().read())
        return found["error"]["data"]["reason"] if "error" in found else None
    finally:
        connection.close()


def audit(cluster, *arguments):
    """Return what ``ado audit`` lists, and nothing of the test's own admin token's making."""
    done = cluster.ado("audit", "-o", "jsonl", *arguments, check=0)
    return [json.loads(line) for line in done.stdout.splitlines()]


def refused(cluster):
    return [entry for entry in audit(cluster) if entry["outcome"] == "refused"]


def test_an_audit_row_has_token_address_and_request(cluster):
    token = cluster.make_token("operator")
    (token_id,) = cluster.sql("select token_id from ado.tokens where role = 'operator'")[0]
    for url, path, value in (
        (cluster.urls[0], "tasks.create", {"prompt": "sleep 60 # hidden", "agent": "shell"}),
        (cluster.urls[1], "tasks.cancel", {"taskId": "task-1", "reason": "hidden"}),
    ):
        assert post(url, token, path, value, **{"x-request-id": f"r-{path}"}) is None
    cancel, create = audit(cluster, "--task", "task-1")
    for entry, path in ((create, "tasks.create"), (cancel, "tasks.cancel")):
        assert entry.items() >= {
            "procedure": path, "tokenId": token_id, "address": "127.0.0.1", "target": "task-1", "outcome": "ok",
            "requestId": f"r-{path}",
        }.items()  # fmt: skip
    assert audit(cluster, "--user", token_id) == [cancel, create]
    assert audit(cluster, "--user", token_id, "--since", "1h") == [cancel, create]
    assert audit(cluster, "--user", token_id, "--since", "1h", "--limit", "1") == [cancel]
    assert "hidden" not in json.dumps(audit(cluster))


def test_the_audit_filters_and_shows_users_by_name(cluster):
    cluster.ado("users", "add", "anna", check=0)
    made = json.loads(cluster.ado("token", "create", "--user", "anna", "-o", "json", check=0).stdout)
    assert post(cluster.urls[0], made["token"], "tasks.create", {"prompt": "x", "agent": "shell"}) is None
    by_name = audit(cluster, "--user", "anna")
    assert [(entry["procedure"], entry["user"]) for entry in by_name] == [("tasks.create", "user-1")]
    assert audit(cluster, "--user", "user-1") == by_name
    (row,) = cluster.ado("audit", "--user", "anna", check=0).stdout.decode().splitlines()[1:]
    assert " anna " in row
    nobody = cluster.ado("audit", "--user", "ana", check=2).stderr.decode()
    assert "there is no user 'ana'; did you mean anna?" in nobody


def test_refused_calls_are_stored_with_their_reason(cluster):
    viewer = cluster.make_token("viewer")
    (token_id,) = cluster.sql("select token_id from ado.tokens where role = 'viewer'")[0]
    first, second = cluster.urls
    assert post(first, viewer, "tasks.cancel", {"taskId": "task-1"}) == "forbidden"
    assert post(second, "ado_wrong-token", "tasks.cancel", {"taskId": "task-1"}) == "token_invalid"
    assert post(second, None, "tasks.remove", {"taskId": "task-1"}) == "token_missing"
    assert post(first, cluster.token, "tasks.cancel", {"taskId": "task-9"}) == "no_such_task"
    huge = {"prompt": "x", "agent": "shell", "workers": 10**6}
    assert post(first, cluster.token, "tasks.create", huge) == "limit_exceeded"
    with connect(f"ws{second.removeprefix('http')}/trpc", additional_headers={"authorization": "Bearer no"}) as socket:
        assert json.loads(socket.recv(10))["error"]["data"]["reason"] == "token_invalid"
    until(lambda: len(refused(cluster)) == 6, "every refusal to be written")
    found = {(entry.get("procedure"), entry["reason"]): entry for entry in refused(cluster)}
    assert found.keys() == {
        ("tasks.cancel", "forbidden"), ("tasks.cancel", "token_invalid"), ("tasks.remove", "token_missing"),
        ("tasks.cancel", "no_such_task"), ("tasks.create", "limit_exceeded"), (None, "token_invalid"),
    }  # fmt: skip
    forbidden = found["tasks.cancel", "forbidden"]
    assert (forbidden["tokenId"], forbidden["target"], forbidden["address"]) == (token_id, "task-1", "127.0.0.1")
    assert "tokenId" not in found["tasks.cancel", "token_invalid"]
    assert "ado_wrong-token" not in json.dumps(refused(cluster))


@pytest.mark.parametrize("page", ["/metrics", "/trpc/ado.d.ts"])
def test_a_refused_page_is_stored(shared_cluster, page):
    worker = shared_cluster.make_token("worker", worker_id="w9")
    for token, reason in (("ado_wrong", "token_invalid"), (worker, "forbidden")):
        connection = http.client.HTTPConnection(shared_cluster.urls[0].removeprefix("http://"), timeout=60)
        connection.request("GET", page, headers={"authorization": f"Bearer {token}"})
        assert connection.getresponse().status in (401, 403)
        connection.close()
        until(
            lambda r=reason: (page, r) in {(e.get("procedure"), e["reason"]) for e in refused(shared_cluster)},
            "the row",
        )


def test_a_flood_of_wrong_tokens_gives_a_few_rows(cluster):
    for number in range(5 * _BURST):
        assert post(cluster.urls[0], f"ado_{number}", "tasks.create", {}) == "token_invalid"
    assert 1 <= len(refused(cluster)) <= 2 * _BURST
    assert post(cluster.urls[0], cluster.make_token("viewer"), "tasks.create", {}) == "forbidden"
    until(lambda: "forbidden" in {entry["reason"] for entry in refused(cluster)}, "another caller's row")


def test_only_administrators_read_the_audit(shared_cluster):
    for role in ("viewer", "operator"):
        done = shared_cluster.ado("audit", "--token", shared_cluster.make_token(role))
        assert done.returncode == 126, done.stderr


def test_tokens_made_on_the_database_are_audited_under_the_login(shared_cluster):
    made = json.loads(
        shared_cluster.ado(
            "token", "create", "--role", "viewer", "--dsn", shared_cluster.dsn, "-o", "json", check=0
        ).stdout
    )
    shared_cluster.ado("token", "revoke", made["tokenId"], "--dsn", shared_cluster.dsn, check=0)
    found = [entry for entry in audit(shared_cluster) if entry.get("target") == made["tokenId"]]
    assert [entry["procedure"] for entry in found] == ["tokens.revoke", "tokens.create"]
    (login,) = shared_cluster.sql("select current_user")[0]
    assert {entry["address"] for entry in found} == {f"sql:{login}"}


def test_the_audit_is_printed_as_a_table(shared_cluster):
    shared_cluster.ado("workers", "scale", "0", check=0)
    lines = shared_cluster.ado("audit", check=0).stdout.decode().splitlines()
    assert lines[0].split()[:6] == ["at", "user", "token", "address", "procedure", "target"]
    assert "workers.scale" in lines[1]
