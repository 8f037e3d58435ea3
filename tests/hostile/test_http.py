"""Malformed, huge, truncated and nonsensical HTTP: an answer or a clean close, and the next call works."""

import contextlib
import json
import random
import socket
import string
import urllib.parse

import pytest
from support.program import until

from .conftest import no_leak, receive

SEEDS = range(6)
REQUESTS = 400
PATHS = ("tasks.get", "tasks.create", "tasks.list", "workers.register", "workers.append", "stream.taskEvents", "no.pe")
DEEP = "[" * 50_000


def junk(rng):
    """Return a JSON value that no procedure asks for."""
    return rng.choice(
        [
            None, True, -1, 0, 2**63, -(2**70), 1e308, "", "x" * rng.randrange(5000), "\u0000", "ü😀", [], [[]], {},
            {"taskId": {}}, {"taskId": "task-" + "9" * rng.randrange(40)}, {"": ""}, [None] * 1000,
            {"prompt": "\u0000", "agent": "shell"}, {"prompt": "x", "workers": -1}, {"prompt": "x", "labels": [1]},
            {"prompt": "x", "timeoutSeconds": 1e300}, {"prompt": "x", "priority": 2**40},
            {"prompt": "x", "resources": {"cpu": 1e308, "memory": -1}}, {"taskId": "task-1", "cursor": 3},
            {"limit": 10**6}, {"cursor": "'; drop table ado.tasks; --"}, {"labels": {"a": "\u0000"}},
        ]
    )  # fmt: skip


def input_text(rng):
    """Return the text of an input: JSON, nearly JSON, or none."""
    text = json.dumps(junk(rng))
    kind = rng.randrange(8)
    if kind == 0:
        return text[: rng.randrange(len(text) + 1)]
    if kind == 1:
        return DEEP
    if kind == 2:
        return '{"0":' + text + ',"1":' + text + "}"
    if kind == 3:
        return '{"prompt":"\\ud800"}'
    if kind == 4:
        return "".join(rng.choice(string.printable) for _ in range(rng.randrange(50)))
    return text


def some_query(rng):
    """Return the parameters of a query, some of them wrong."""
    query = []
    if rng.random() < 0.4:
        query.append("batch=" + rng.choice(["1", "1", "0", "", "1&batch=1"]))
    if rng.random() < 0.7:
        query.append("input=" + urllib.parse.quote(input_text(rng)[:60_000]))
    if rng.random() < 0.2:
        query.append("connectionParams=" + urllib.parse.quote(input_text(rng)[:10_000]))
    if rng.random() < 0.2:
        query.append("lastEventId=" + rng.choice(["-1", "x", "9" * 30, "%00", ""]))
    return query


def some_headers(rng, token):
    """Return the lines of a head, some of them wrong."""
    headers = ["host: 127.0.0.1", "connection: close"]
    if rng.random() < 0.8:
        headers.append(f"authorization: Bearer {token}")
    elif rng.random() < 0.5:
        headers.append(
            "authorization: " + rng.choice(["", "Bearer", "Bearer \x7f", "Basic eA==", "Bearer " + "x" * 9000])
        )
    if rng.random() < 0.7:
        headers.append(
            "content-type: " + rng.choice(["application/json", "text/plain", "multipart/form-data", "\x01", ";"])
        )
    if rng.random() < 0.2:
        headers.append("trpc-accept: application/jsonl")
    if rng.random() < 0.1:
        headers += [f"x-{i}: y" for i in range(rng.choice([5, 500]))]
    return headers


def one_request(rng, token):
    """Return the bytes of one request that is wrong in some way."""
    kind = rng.randrange(12)
    if kind == 0:
        return rng.randbytes(rng.randrange(1, 2000))
    if kind == 1:
        return b"GET / HTTP/1.1\r\n" + b"x" * rng.randrange(1, 80_000)
    method = rng.choice(["GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH", "get", "TRACE"])
    path = ",".join(rng.choices(PATHS, k=rng.choice([1, 1, 1, 2, 5, 150])))
    if kind == 2:
        path = rng.choice(["%", "%zz", "%E0%A4%A", "%00", "../../etc/passwd", "a" * 10_000, "//", ".", "%2C%2C"])
    query, headers = some_query(rng), some_headers(rng, token)
    body = input_text(rng).encode("utf-8", "surrogatepass") if method in ("POST", "PUT", "PATCH") else b""
    if kind == 3:
        headers.append("transfer-encoding: chunked")
        body = rng.choice([b"zz\r\n", b"5\r\nab\r\n0\r\n\r\n", b"ffffffff\r\nx", b"0\r\n\r\n", body])
    elif kind == 4:
        headers.append("content-length: " + rng.choice(["-1", "x", "99999999999", "1, 2", "5"]))
    elif body or rng.random() < 0.5:
        headers.append(f"content-length: {len(body)}")
    if kind == 5:
        headers.append("upgrade: websocket")
    if kind == 6:
        headers.append("host: evil.example")
    if kind == 7:
        headers.append("origin: http://evil.example")
    head = f"{method} /trpc/{path}{'?' if query else ''}{'&'.join(query)} HTTP/1.1\r\n" + "\r\n".join(headers)
    data = head.encode("utf-8", "replace") + b"\r\n\r\n" + body
    return data[: rng.randrange(len(data))] if kind == 8 else data


@pytest.mark.parametrize("seed", SEEDS)
def test_malformed_requests_are_answered_or_closed(target, seed):
    rng = random.Random(seed)
    cluster = target.cluster
    token = cluster.make_token(rng.choice(["viewer", "operator", "admin"]))
    answered = 0
    for _ in range(REQUESTS):
        answer = target.raw(one_request(rng, token), half_close=True)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 ")
        no_leak(answer)
        answered += bool(answer)
    assert answered > REQUESTS / 2


def test_a_body_that_never_ends_is_refused_at_the_limit(target):
    """The answer comes while the peer still sends; what it sends then is dropped, and memory stays bounded."""
    head = (
        f"POST /trpc/tasks.create HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {target.cluster.token}\r\n"
        "content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    ).encode()
    with socket.create_connection(("127.0.0.1", target.port), timeout=60) as connection:
        connection.sendall(head)
        for _ in range(4096):  # 256 MiB
            connection.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        answer = receive(connection, 1 << 20)
    assert b" 413 " in answer.partition(b"\r\n")[0]
    assert b"PAYLOAD_TOO_LARGE" in answer


def test_silent_connections_are_closed(target):
    with contextlib.ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_connection(("127.0.0.1", target.port), timeout=30)) for _ in range(50)
        ]
        for index, connection in enumerate(silent):
            connection.sendall(b"" if index % 2 else b"GET /trpc/tasks.list HTTP/1.1\r\nhost: x\r\nx-slow: ")
        for connection in silent:
            receive(connection, 1 << 16)  # returns when the replica closes; the socket's time-out would raise


def test_abandoned_streams_leave_nothing(target):
    name = target.cluster.ado("run", "--remote", "--detach", "--agent", "shell", "-o", "name", "x", check=0)
    query = urllib.parse.quote(json.dumps({"taskId": name.stdout.decode().strip()}))
    request = (
        f"GET /trpc/stream.taskEvents?input={query} HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        f"authorization: Bearer {target.cluster.token}\r\n\r\n"
    ).encode()
    for _ in range(5):
        connections = []
        for _ in range(100):
            connection = socket.create_connection(("127.0.0.1", target.port), timeout=60)
            connection.sendall(request)
            connections.append(connection)
        for connection in connections:
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
            connection.close()

    def gone():
        answer = target.raw(
            f"GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {target.cluster.token}\r\n\r\n".encode()
        )
        return b'ado_connections{transport="sse"} 0.0' in answer

    until(gone, "every stream to be gone")
