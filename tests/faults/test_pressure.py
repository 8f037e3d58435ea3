"""Back-pressure: who reads nothing costs no memory and loses nothing; a slow Postgres slows the agent's pipe."""

import base64
import http.client
import json
import os
import socket
import time
from pathlib import Path

import orjson
import pytest
from support.field import Field
from support.program import until
from websockets.sync.client import connect

MEGABYTE = 1024 * 1024
FLOOD_BYTES = 40 * MEGABYTE
FLOOD = f"head -c {FLOOD_BYTES} /dev/zero | tr '\\0' x"
QUIET_SECONDS = {"ADO_DRAIN_SECONDS": "1"}


@pytest.fixture(scope="module")
def field():
    with Field(env=QUIET_SECONDS) as made:
        made.add_worker()
        yield made


def memory(process):
    """Return the resident bytes of a process."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def finished(field, task, seconds=90):
    ask = "select status from ado.tasks where task_id = %s"
    number = int(task.removeprefix("task-"))
    until(lambda: field.sql(ask, number)[0][0] in ("succeeded", "failed"), "the end", seconds)
    assert field.sql(ask, number) == [("succeeded",)]


class SocketViewer:
    """A raw WebSocket that asks for a task's output and reads when it is told to."""

    def __init__(self, url, token, task, after=0):
        plain = socket.create_connection(url.removeprefix("http://").rsplit(":", 1))
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        headers = {"Authorization": f"Bearer {token}"}
        self.socket = connect(
            "ws" + url.removeprefix("http") + "/trpc",
            sock=plain,
            additional_headers=headers,
            compression=None,
            max_size=None,
            max_queue=1,
            ping_interval=None,
        )
        params = {"path": "stream.taskEvents", "input": {"taskId": task}, "lastEventId": str(after)}
        self.socket.send(json.dumps({"id": 1, "method": "subscription", "params": params}))

    def events(self):
        """Yield the events until the stream stops or the connection ends."""
        for text in self.socket:
            result = orjson.loads(text).get("result", {}) if text not in ("PING", "PONG") else {}
            if result.get("type") == "stopped":
                return
            if result.get("type") == "data":
                yield result["data"]["data"]

    def close(self):
        self.socket.close()


class EventSourceViewer:
    """A raw event stream, the same way."""

    def __init__(self, url, token, task, after=0):
        self._connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
        self._connection.connect()
        self._connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        wish = json.dumps({"taskId": task, "lastEventId": str(after)})
        headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
        path = f"/trpc/stream.taskEvents?input={http.client.urllib.parse.quote(wish)}"
        self._connection.request("GET", path, headers=headers)
        self._response = self._connection.getresponse()

    def events(self):
        for line in self._response:
            if line.startswith(b"event: return"):
                return
            if line.startswith(b'data: {"taskId"'):
                yield orjson.loads(line[6:])

    def close(self):
        self._response.close()
        self._connection.close()


def stall(field, kind, seconds):
    """Flood past a viewer that reads nothing, then let it read on; return what it saw and the replica's growth."""
    url, token = f"http://127.0.0.1:{field.ports[0]}", field.cluster.token
    warm = field.create(FLOOD)  # what a flood costs without any viewer is no growth
    finished(field, warm)
    before = memory(field.replicas[0])
    task = field.create(FLOOD)
    viewers = [kind(url, token, task) for _ in range(5)]
    finished(field, task)
    field.last(seconds)
    growth = memory(field.replicas[0]) - before
    seen = []
    for event in viewers[0].events():
        seen.append(event)
    for viewer in viewers:
        viewer.close()
    if seen[-1]["type"] != "succeeded":  # a viewer that is silent for too long is cut, and comes back
        again = kind(url, token, task, seen[-1]["seq"])
        seen += again.events()
        again.close()
    return seen, growth


def check(seen):
    assert [event["seq"] for event in seen] == list(range(1, len(seen) + 1))
    parts = [event for event in seen if event["type"] == "output"]
    data = b"".join(base64.b64decode(e["data"]) if e.get("encoding") else e["data"].encode() for e in parts)
    assert data == b"x" * FLOOD_BYTES


@pytest.mark.parametrize("kind", [SocketViewer, EventSourceViewer])
def test_viewers_that_read_nothing_cost_no_growing_memory_and_lose_nothing(field, kind):
    """Five of them while 40 MB go by: less than a tenth of what they have not read."""
    seen, growth = stall(field, kind, 0)
    check(seen)
    assert growth < 5 * FLOOD_BYTES / 10, f"{growth / MEGABYTE:.0f} MB"


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", [SocketViewer, EventSourceViewer])
def test_a_viewer_that_reads_nothing_for_a_minute_loses_nothing(field, kind):
    seen, growth = stall(field, kind, 60)
    check(seen)
    assert growth < 5 * FLOOD_BYTES / 10, f"{growth / MEGABYTE:.0f} MB"


def test_a_slow_postgres_slows_the_agent_and_not_the_replicas_memory():
    """A link of 2 MB/s: the agent waits in its write, the replica holds no more than its bound."""
    bound = 8 * MEGABYTE
    size = 24 * MEGABYTE
    script = f"head -c {size} /dev/zero | tr '\\0' x; touch written"
    with Field(env={"ADO_APPEND_BYTES": str(bound), "ADO_BUFFER_BYTES": str(MEGABYTE)}) as field:
        field.add_worker()
        finished(field, field.create("head -c 8000000 /dev/zero | tr '\\0' x"))
        before = [memory(replica) for replica in field.replicas]
        for name in ("pg0", "pg1"):
            field.links[name].rate = 2 * MEGABYTE
        task = field.create(script)
        number = int(task.removeprefix("task-"))
        stored = "select coalesce(sum(octet_length(data)), 0) from ado.events where task_id = %s"
        grown = 0
        while field.sql("select status from ado.tasks where task_id = %s", number)[0][0] not in ("succeeded", "failed"):
            there = field.sql(stored, number)[0][0]
            written = list(field.home.glob("work/**/written"))
            assert not written or there > size - bound, "the agent had written all long before it was stored"
            grown = max(grown, *(memory(r) - b for r, b in zip(field.replicas, before, strict=True)))
            time.sleep(0.1)
        assert field.sql(stored, number) == [(size,)]
        assert grown < 4 * bound, f"{grown / MEGABYTE:.0f} MB"
