"""A replica under attack: what it answers, what it logs, and how much memory it holds."""

import contextlib
import json
import socket
from pathlib import Path

import pytest

from app.rpc.client import HttpClient

LEAKS = ("Traceback", "asyncpg", "psycopg", "litestar", "site-packages", "select ", '.py"', "postgresql://")


class Target:
    """One replica of a cluster, attacked from outside."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.url = cluster.urls[0]
        self.port = int(self.url.rpartition(":")[2])
        self.process = cluster.replicas[0]
        self.memory = self.resident()

    def resident(self):
        """Return the replica's resident memory in bytes."""
        fields = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(fields[1]) * 4096

    def raw(self, data, *, half_close=False, timeout=60.0, limit=1 << 20):
        """Send bytes on a connection of its own; return what comes back before it closes or says no more."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
            try:
                connection.sendall(data)
                if half_close:
                    connection.shutdown(socket.SHUT_WR)
            except OSError:  # refused before it was sent whole; the answer may be there all the same
                pass
            return receive(connection, limit)

    def check(self, *, growth=100 << 20):
        """Assert that the replica is alive, answers, is within its memory and logged no error of its own."""
        assert self.process.poll() is None
        with contextlib.closing(HttpClient([self.url], self.cluster.token)) as client:
            assert client.query("tasks.list", {"limit": 1})["items"] is not None
        assert self.resident() - self.memory < growth
        log = (self.cluster.home / "api-0.log").read_text()
        bad = [line for line in log.splitlines() if json.loads(line)["level"] in ("error", "critical")]
        assert not bad, bad[0].replace("\\n", "\n")


def receive(connection, limit):
    """Read an answer: to its end where its length is told, else until the peer closes."""
    found = b""
    try:
        while len(found) < limit:
            head, _, body = found.partition(b"\r\n\r\n")
            for line in head.lower().split(b"\r\n"):
                if body is not None and line.startswith(b"content-length: ") and len(body) >= int(line[16:]):
                    return found
            if found.startswith(b"HTTP/1.1 204") and b"\r\n\r\n" in found:
                return found
            data = connection.recv(65536)
            if not data:
                return found
            found += data
    except ConnectionResetError:
        return found
    return found


def no_leak(answer):
    """Assert that an answer reveals no internals of the server."""
    text = answer.decode("utf-8", "replace")
    assert not [word for word in LEAKS if word in text], text[:500]
    assert "INTERNAL_SERVER_ERROR" not in text, text[:500]


@pytest.fixture
def target(shared_cluster):
    """A replica that the tests of a module attack one after the other; each holds it to being well."""
    found = Target(shared_cluster)
    yield found
    found.check()
