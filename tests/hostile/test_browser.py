"""A page of another site, in a browser on a machine that runs a replica on loopback.

The page knows no token, but one may have leaked to it: each attack here carries a valid one, so that only the checks
of ``Host``, ``Origin``, method and content type can refuse it.
"""

import http.client
import json
from urllib.parse import quote

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

FOREIGN_ORIGINS = [
    "http://evil.example", "https://evil.example", "null", "", "file://", "http://127.0.0.1", "http://localhost:1",
    "http://127.0.0.1.evil.example", "http://evil.example#http://127.0.0.1", "chrome-extension://abc",
]  # fmt: skip
FOREIGN_HOSTS = [
    "evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", "xlocalhost",
    "0.0.0.0", "127.0.0.1@evil.example", "127.0.0.1:80.evil.example", "[::1].evil.example", "[::1", "",
]  # fmt: skip


def ask(url, method, path, body=None, **headers):
    """Make one request as it is given; return status, headers and body."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    try:
        connection.putrequest(method, path, skip_host="host" in headers, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        data = b"" if body is None else body.encode()
        connection.putheader("content-length", str(len(data)))
        connection.endheaders(data)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def reason(body):
    return json.loads(body)["error"]["data"]["reason"]


def scaled(cluster):
    return cluster.sql("select count(*) from ado.worker_scales") != [(0,)]


@pytest.fixture
def cluster(shared_cluster):
    """The module's replicas, with no wish for workers."""
    shared_cluster.sql("with gone as (delete from ado.worker_scales returning 1) select count(*) from gone")
    return shared_cluster


@pytest.fixture
def signed(cluster):
    """The headers of a valid call."""
    return {"authorization": f"Bearer {cluster.token}", "content_type": "application/json"}


def test_a_page_of_another_origin_changes_nothing(cluster, signed):
    for number, origin in enumerate(FOREIGN_ORIGINS):
        url = cluster.urls[number % 2]
        status, _, body = ask(url, "POST", "/trpc/workers.scale", '{"count":1}', origin=origin, **signed)
        assert (status, reason(body)) == (403, "foreign_origin"), origin
    assert not scaled(cluster)
    own = cluster.urls[0]
    assert ask(own, "POST", "/trpc/workers.scale", '{"count":1}', origin=own, **signed)[0] == 200
    assert scaled(cluster)


def test_a_page_of_another_origin_opens_no_socket(cluster):
    for origin in FOREIGN_ORIGINS:
        with pytest.raises(InvalidStatus) as refused:
            connect(
                f"ws{cluster.urls[0].removeprefix('http')}/trpc",
                additional_headers={"authorization": f"Bearer {cluster.token}", "origin": origin},
            )
        assert refused.value.response.status_code == 403, origin


@pytest.mark.parametrize(
    "path",
    ["/trpc/tasks.list", "/metrics", "/trpc/ado.d.ts", "/healthz", "/readyz", "/", "/tasks/task-1", "/assets/x.js"],
)
def test_a_foreign_name_for_loopback_is_refused(cluster, signed, path):
    for host in FOREIGN_HOSTS:
        status, _, body = ask(cluster.urls[0], "GET", path, host=host, **signed)
        assert status in (400, 403), (host, status)
        if status == 403:
            assert reason(body) == "foreign_host", host


def test_no_answer_lets_another_origin_read_it(cluster, signed):
    """No CORS: a browser shows a page of another origin nothing of an answer, nor sends what needs a preflight."""
    asked = {"access_control_request_method": "POST", "access_control_request_headers": "authorization"}
    for method, path, body in (
        ("GET", "/trpc/tasks.list?input=%7B%7D", None),
        ("GET", "/healthz", None),
        ("GET", "/metrics", None),
        ("GET", "/tasks", None),
        ("OPTIONS", "/", None),
        ("OPTIONS", "/trpc/tasks.create", None),
        ("OPTIONS", "/trpc/tasks.list", None),
        ("POST", "/trpc/tasks.create", "{}"),
    ):
        _, headers, _ = ask(cluster.urls[0], method, path, body, origin="http://evil.example", **asked, **signed)
        assert not [name for name in headers if name.startswith("access-control-")], (method, path)
        assert "set-cookie" not in headers


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "text/json"]
)
def test_a_request_that_a_form_can_send_is_refused(cluster, signed, kind):
    """The content types that need no preflight, also without an Origin."""
    headers = {**signed, "content_type": kind}
    status, _, _ = ask(cluster.urls[0], "POST", "/trpc/workers.scale", '{"count":1}', **headers)
    assert status == 415
    assert not scaled(cluster)


def test_a_link_or_an_image_changes_nothing(cluster, signed):
    value = quote('{"count":1}')
    for method in ("GET", "HEAD"):
        status, _, _ = ask(cluster.urls[0], method, f"/trpc/workers.scale?input={value}", **signed)
        assert status in (204, 405)
    assert not scaled(cluster)


def test_an_answer_is_never_a_page_or_a_script(cluster, signed):
    script = quote("<script>alert(1)</script>", safe="")
    for path in (
        f"/trpc/{script}",
        f"/trpc/tasks.get?input={script}",
        f"/{script}",
        f"/trpc/tasks.list?callback={script}",
    ):
        _, headers, _ = ask(cluster.urls[0], "GET", path, **signed)
        assert headers["content-type"].startswith("application/json"), path
