"""Which Host headers a replica on loopback answers."""

import pytest

from app.core.settings import read
from app.replica.allowed_hosts import HostGuard, host_name, is_loopback
from app.settings import AppSettings


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost", "localhost"),
        ("localhost:7421", "localhost"),
        ("127.0.0.1:1", "127.0.0.1"),
        ("[::1]", "::1"),
        ("[::1]:7421", "::1"),
        ("ado.localhost:7421", "ado.localhost"),
        ("evil.example:80", "evil.example"),
    ],
)
def test_a_name_is_read_without_its_port(header, name):
    assert host_name(header) == name


@pytest.mark.parametrize(
    "header",
    ["", "127.0.0.1:80.evil.example", "[::1].evil.example", "[::1", "127.0.0.1:", "::1", "localhost:7:8", ":80"],
)
def test_a_malformed_host_is_not_loopback(header):
    assert not is_loopback(host_name(header))


async def status_for(header, kind="http", **environ):
    """Return the status for a request with a Host header: 200 from the application behind the guard."""
    received, sent = [], []

    async def application(scope, receive, send):
        await send({"status": 200})

    async def receive():
        received.append("websocket.connect")
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    settings = read(AppSettings, {"ADO_DSN": "postgresql://", "ADO_HOST": "127.0.0.1", **environ})
    scope = {"type": kind, "headers": [(b"host", header.encode())], "extensions": {"websocket.http.response": {}}}
    await HostGuard(application, settings)(scope, receive, send)
    if kind == "websocket" and sent[0]["status"] != 200:
        assert received  # only then may a server answer
    start = "websocket.http.response.start" if kind == "websocket" else "http.response.start"
    assert sent[0].get("type", start) == start
    return sent[0]["status"]


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("localhost:7421", 200),
        ("evil.example", 403),
        ("evil.example:7421", 403),
        ("", 403),
        ("ado.internal", 200),
        ("ADO.Internal:7421", 200),
        ("with.port:8443", 200),
        ("with.port", 403),
        ("with.port:1", 403),
        ("not.ado.internal", 403),
    ],
)
async def test_a_replica_on_loopback_answers_loopback_names_and_allowed_hosts_only(kind, header, status):
    allowed = {"ADO_ALLOWED_HOSTS": "Ado.internal, with.port:8443"}
    assert await status_for(header, kind, **allowed) == status


async def test_without_allowed_hosts_a_foreign_name_is_refused():
    assert await status_for("ado.internal") == 403


async def test_a_replica_on_another_address_answers_every_name():
    assert await status_for("evil.example", ADO_HOST="0.0.0.0") == 200
