"""Files as HTTP bodies: ranges, uploads that continue at another replica, and what each caller may do."""

import contextlib
import hashlib
import http.client
import json
import os
import socket
import subprocess
import threading

import pytest
from support.program import Cluster, until

from app.rpc.client import CallError, HttpClient

PIECE = 1024 * 1024
CONTENT = bytes(range(256)) * 8192 + os.urandom(777_777)
"""Two whole pieces with bytes of every kind, and a part of one."""
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def operator(cluster):
    client = HttpClient(cluster.urls, cluster.make_token("operator"))
    yield client
    client.close()


def name_of(number):
    return f"file-{number:032x}"


def begin(client, content, number=1, **more):
    wish = {"kind": "base", "size": len(content), "sha256": hashlib.sha256(content).hexdigest(), **more}
    return client.mutate("files.begin", {"fileId": name_of(number), **wish})


def exchange(cluster, method, number=1, body=None, token=None, replica=0, **headers):
    """Send one request; return status, headers and body."""
    connection = http.client.HTTPConnection(cluster.urls[replica].removeprefix("http://"), timeout=60)
    head = {name.replace("_", "-"): value for name, value in headers.items()}
    path = number if isinstance(number, str) else f"/files/{name_of(number)}"
    connection.request(method, path, body, {"authorization": f"Bearer {token or cluster.token}", **head})
    with connection.getresponse() as response:
        answer = response.status, response.headers, response.read()
    connection.close()
    return answer


def reason(answer):
    return answer[0], json.loads(answer[2])["error"]["data"]["reason"]


def put_all(cluster, client, content, number=1, **more):
    begin(client, content, number, **more)
    status, _, body = exchange(cluster, "PUT", number, content)
    assert (status, json.loads(body)["result"]["data"]["received"]) == (200, len(content))
    client.mutate("files.commit", {"fileId": name_of(number)})


def open_upload(url, token, content, number=1):
    """Send the head of an upload and a part of its body; return the open connection."""
    host, port = url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=60)
    head = f"PUT /files/{name_of(number)} HTTP/1.1\r\nhost: {host}:{port}\r\nauthorization: Bearer {token}\r\n"
    connection.sendall(f"{head}content-length: {len(CONTENT)}\r\n\r\n".encode() + content)
    return connection


def test_a_body_is_read_from_any_offset(cluster, operator, tmp_path):
    put_all(cluster, operator, CONTENT)
    status, headers, body = exchange(cluster, "GET", replica=1)
    assert (status, body, headers["etag"], headers["accept-ranges"]) == (200, CONTENT, f'"{DIGEST}"', "bytes")
    end = len(CONTENT)
    for first, last in ((0, 0), (PIECE - 1, PIECE), (PIECE, 2 * PIECE - 1), (12_345, 2_345_678), (end - 1, end + 5)):
        status, headers, body = exchange(cluster, "GET", range=f"bytes={first}-{last}")
        assert (status, body == CONTENT[first : last + 1]) == (206, True)
        assert headers["content-range"] == f"bytes {first}-{min(last, end - 1)}/{end}"
    assert exchange(cluster, "GET", range="bytes=-5")[2] == CONTENT[-5:]
    assert exchange(cluster, "GET", range=f"bytes={end - 7}-")[2] == CONTENT[-7:]
    assert exchange(cluster, "GET", range="bytes=5-1")[0] == 200
    assert exchange(cluster, "GET", range="bytes=5-", if_range='"other"')[0] == 200
    assert exchange(cluster, "GET", range="bytes=5-", if_range=f'"{DIGEST}"')[0] == 206
    status, headers, body = exchange(cluster, "HEAD")
    assert (status, headers["content-length"], body) == (200, str(end), b"")
    answer = exchange(cluster, "GET", range=f"bytes={end}-")
    assert (reason(answer), answer[1]["content-range"]) == ((416, "invalid_input"), f"bytes */{end}")
    target = tmp_path / "target"
    target.write_bytes(CONTENT[: PIECE + 99])
    command = ["curl", "-sSf", "-C", "-", "-o", target, "-H", f"authorization: Bearer {cluster.token}"]
    subprocess.run([*command, f"{cluster.urls[1]}/files/{name_of(1)}"], check=True, timeout=60)
    assert target.read_bytes() == CONTENT


def test_an_upload_continues_at_another_replica_after_the_first_was_killed(cluster, operator, tmp_path):
    begin(operator, CONTENT)
    with open_upload(cluster.urls[0], cluster.token, CONTENT[: PIECE + 5000]):
        until(lambda: begin(operator, CONTENT)["received"] == PIECE, "the first piece to be stored")
        cluster.replicas[0].kill()
    operator.leave()
    assert begin(operator, CONTENT)["received"] == PIECE
    assert reason(exchange(cluster, "GET", replica=1)) == (404, "no_such_file")
    source = tmp_path / "source"
    source.write_bytes(CONTENT)
    command = ["curl", "-sSf", "-C", str(PIECE), "-T", source, "-H", f"authorization: Bearer {cluster.token}"]
    subprocess.run([*command, f"{cluster.urls[1]}/files/{name_of(1)}"], check=True, timeout=60)
    operator.mutate("files.commit", {"fileId": name_of(1)})
    assert exchange(cluster, "GET", replica=1)[2] == CONTENT


def test_two_uploads_of_one_file_at_once_both_succeed(cluster, operator):
    begin(operator, CONTENT)
    answers = []
    with open_upload(cluster.urls[0], cluster.token, CONTENT[:5000]) as slow:
        senders = [
            threading.Thread(target=lambda at=at: answers.append(exchange(cluster, "PUT", body=CONTENT, replica=at)[0]))
            for at in (0, 1)
        ]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        operator.mutate("files.commit", {"fileId": name_of(1)})
        slow.sendall(CONTENT[5000:])
        assert slow.recv(4096).startswith(b"HTTP/1.1 200")
    assert answers == [200, 200]
    assert exchange(cluster, "GET")[2] == CONTENT


def test_an_empty_file_has_an_empty_body(cluster, operator):
    put_all(cluster, operator, b"")
    assert exchange(cluster, "GET")[::2] == (200, b"")
    assert reason(exchange(cluster, "GET", range="bytes=0-")) == (416, "invalid_input")


def test_a_body_that_does_not_fit_the_file_is_refused_and_stays_invisible(cluster, operator):
    begin(operator, CONTENT)
    size = len(CONTENT)
    for body, span in (
        (CONTENT[:-1], None),
        (CONTENT + b"x", None),
        (b"x", f"bytes 5-5/{size}"),
        (b"x", "bytes 0-0/1"),
    ):
        more = {} if span is None else {"content_range": span}
        assert reason(exchange(cluster, "PUT", body=body, **more)) == (400, "invalid_input")
    assert reason(exchange(cluster, "PUT", body=b"", content_range=f"bytes 0-9/{size}")) == (400, "invalid_input")
    exchange(cluster, "PUT", body=CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))
    with pytest.raises(CallError) as caught:
        operator.mutate("files.commit", {"fileId": name_of(1)})
    assert caught.value.reason == "file_mismatch"
    assert reason(exchange(cluster, "GET")) == (404, "no_such_file")
    assert cluster.sql("select count(*) from ado.file_chunks")[0][0] == 3


@pytest.fixture
def hasty(dsn, home):
    """A replica that waits three seconds for a piece of a body."""
    made = Cluster(dsn, home, env={"ADO_BODY_SECONDS": "3"})
    try:
        yield made.add_replicas(1)
    finally:
        made.close()


def test_a_client_that_stalls_gets_an_error_in_time(hasty):
    with contextlib.closing(HttpClient(hasty.urls, hasty.token)) as client:
        begin(client, CONTENT)
        with open_upload(hasty.urls[0], hasty.token, CONTENT[: PIECE + 5000]) as stalled:
            response = http.client.HTTPResponse(stalled)
            response.begin()
            assert reason((response.status, response.headers, response.read())) == (408, "limit_exceeded")
        assert begin(client, CONTENT)["received"] == PIECE


def test_bodies_have_the_rights_and_fences_of_the_calls(cluster, operator):
    cluster.add_worker("w1")
    put_all(cluster, operator, b"base", 1)
    cluster.ado("run", "--remote", "--detach", "--agent", "shell", "sleep 600", check=0)
    until(lambda: cluster.task("task-1")["status"] == "running", "task-1 to run")
    cluster.sql("update ado.jobs set credential_digest = null returning 1")
    mine = cluster.make_token("worker", worker_id="w1")
    other, viewer = cluster.make_token("worker", worker_id="w2"), cluster.make_token("viewer")
    worker = HttpClient([cluster.urls[0]], mine)
    fence = {"workerId": "w1", "jobId": "task-1/0", "attempt": 1}
    begin(worker, b"one", 2, kind="checkpoint", **fence)
    begin(worker, b"two", 3, kind="checkpoint", **fence)
    worker.close()
    assert reason(exchange(cluster, "PUT", 2, b"one", other)) == (404, "no_such_file")
    assert reason(exchange(cluster, "PUT", 2, b"one", cluster.make_token("operator"))) == (404, "no_such_file")
    assert reason(exchange(cluster, "PUT", 2, b"one", viewer)) == (403, "forbidden")
    assert reason(exchange(cluster, "PUT", 2, b"one", "none")) == (401, "token_invalid")
    assert exchange(cluster, "PUT", 2, b"one", mine)[0] == 200
    cluster.sql("update ado.files set completed_at = now() where file_id = %s returning 1", name_of(2))
    assert exchange(cluster, "GET", 2, token=mine)[2] == b"one"
    for token, number in ((other, 2), (viewer, 2), (mine, 1), (viewer, 1)):
        assert reason(exchange(cluster, "GET", number, token=token)) == (404, "no_such_file")
    cluster.sql("update ado.jobs set attempt = 2 returning 1")
    assert reason(exchange(cluster, "PUT", 3, b"two", mine)) == (409, "lease_lost")
    assert reason(exchange(cluster, "GET", "/files/file-1")) == (404, "no_such_file")
    assert reason(exchange(cluster, "DELETE", 2)) == (405, "method_not_supported")
    refusals = "select reason, procedure from ado.audit where outcome = 'refused'"
    until(lambda: ("forbidden", "files.write") in cluster.sql(refusals), "the refusal to be audited")
