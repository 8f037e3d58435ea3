"""What else a replica serves: metrics, types; who may fetch them."""

import http.client
import json
import select
import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families


@pytest.fixture
def workers(cluster):
    cluster.add_worker("w0", url=cluster.urls[0])
    cluster.add_worker("w1", url=cluster.urls[1])
    cluster.await_idle("w0", "w1")
    return cluster


def fetch(url, token=None, method="GET"):
    headers = {"authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(url, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers["content-type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["content-type"], error.read().decode()


@pytest.mark.parametrize("path", ["/metrics", "/trpc/ado.d.ts"])
def test_pages_need_a_token_of_a_user(cluster, path):
    url = cluster.urls[0] + path
    assert fetch(url, cluster.make_token("viewer"))[0] == 200
    status, kind, body = fetch(url)
    assert (status, kind) == (401, "application/json")
    assert '"reason":"token_missing"' in body
    assert fetch(url, cluster.make_token("worker", worker_id="w"))[0] == 403


def test_metrics_count_calls_appends_jobs_and_workers(workers):
    workers.ado("run", "--remote", "--agent", "shell", "echo hello", check=0)
    samples = {}
    for url in workers.urls:
        for family in text_string_to_metric_families(fetch(url + "/metrics", workers.token)[2]):
            assert family.documentation
            for sample in family.samples:
                key = (sample.name, tuple(sorted(sample.labels.items())))
                samples[key] = samples.get(key, 0) + sample.value
    calls = {dict(labels)["procedure"]: value for (name, labels), value in samples.items()
             if name == "ado_calls_total" and dict(labels)["code"] == "OK"}  # fmt: skip
    assert calls["tasks.create"] == 1
    assert calls["workers.append"] >= 1
    assert samples["ado_append_seconds_count", ()] >= 1
    assert samples["ado_flush_events_sum", ()] >= 1
    assert samples["ado_listener_connected", ()] == 2
    assert samples["ado_database_up", ()] == 2
    assert samples["ado_workers", (("state", "idle"),)] == 2 * 2
    assert samples["ado_jobs", (("status", "queued"),)] == 0
    assert samples["ado_spawners", (("state", "silent"),)] == 0


def test_unknown_paths_share_one_label(cluster):
    for name in ("a", "b", "c"):
        fetch(f"{cluster.urls[0]}/trpc/no.{name}", cluster.token)
    text = fetch(cluster.urls[0] + "/metrics", cluster.token)[2]
    assert 'ado_calls_total{code="NOT_FOUND",procedure="unknown",transport="http"} 3.0' in text
    assert "no.a" not in text


def test_unknown_pages_are_answered_with_an_error_of_the_wire(cluster):
    for url in cluster.urls:
        assert fetch(url + "/nope", cluster.token)[:2] == (404, "application/json")
        status, _, body = fetch(url + "/nope/nope", cluster.token)
        error = json.loads(body)["error"]
        assert (status, error["code"], error["data"]["code"]) == (404, -32004, "NOT_FOUND")
        assert error["data"]["hint"]
        status, _, body = fetch(url + "/healthz", method="POST")
        assert (status, json.loads(body)["error"]["data"]["code"]) == (405, "METHOD_NOT_SUPPORTED")


@pytest.mark.parametrize("path", ["/", "/inbox", "/tasks/task-1", "/schedules", "/workers", "/health", "/new"])
def test_the_dashboard_is_there_on_every_replica_without_a_token(cluster, path):
    """Where the checkout has not built it, the page says how."""
    for url in cluster.urls:
        status, kind, body = fetch(url + path)
        assert (status, kind) in ((200, "text/html; charset=utf-8"), (404, "text/plain; charset=utf-8"))
        assert status == 200 or "npm run build" in body
    status, kind, _ = fetch(cluster.urls[0] + path, method="POST")
    assert (status, kind) == (405, "application/json")


def test_the_dashboard_hides_no_other_route(cluster):
    assert [fetch(cluster.urls[0] + path)[0] for path in ("/healthz", "/readyz", "/metrics", "/trpc/tasks.list")] == [
        200, 200, 401, 401,
    ]  # fmt: skip
    assert fetch(cluster.urls[0] + "/nothing")[0] == fetch(cluster.urls[0] + "/assets/none.js")[0] == 404


def test_an_idle_connection_outlasts_the_five_seconds_of_the_http_server(shared_cluster):
    """A load balancer keeps connections for a minute, and a call that meets their end is answered with 502."""
    connection = http.client.HTTPConnection(shared_cluster.urls[0].removeprefix("http://"), timeout=60)
    headers = {"authorization": f"Bearer {shared_cluster.token}"}
    connection.request("GET", "/trpc/tasks.list?input=%7B%7D", headers=headers)
    assert connection.getresponse().read()
    assert not select.select([connection.sock], [], [], 6.5)[0]
    connection.request("GET", "/trpc/tasks.list?input=%7B%7D", headers=headers)
    assert connection.getresponse().status == 200
    connection.close()
