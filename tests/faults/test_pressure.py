"""Back-pressure: viewers that read nothing take bounded memory and lose no event; a slow Postgres slows agents."""

import base64
import contextlib
import http.client
import json
import os
from pathlib import Path
from urllib.parse import quote

import orjson
import pytest
from support.field import Field
from support.program import until
from websockets.sync.client import connect

MEGABYTE = 1024 * 1024
VIEWERS = 20
FIRST_BYTES, THEN_BYTES = 10 * MEGABYTE, 30 * MEGABYTE
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
    """A raw WebSocket that subscribes to a task's output and reads on demand."""

    def __init__(self, url, token, task, after=0):
        headers = {"Authorization": f"Bearer {token}"}
        self._stack = contextlib.ExitStack()
        opening = connect(
            "ws" + url.removeprefix("http") + "/trpc",
            additional_headers=headers,
            compression=None,
            max_size=None,
            max_queue=1,
            ping_interval=None,
            close_timeout=0.2,
        )
        self.socket = self._stack.enter_context(opening)
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
        self._stack.close()


class EventSourceViewer:
    """A raw event stream of a task's log, read on demand."""

    def __init__(self, url, token, task, after=0):
        self._connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
        wish = json.dumps({"taskId": task, "lastEventId": str(after)})
        headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
        path = f"/trpc/stream.taskEvents?input={quote(wish)}"
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


def flood(size):
    return f"head -c {size} /dev/zero | tr '\\0' x"


def stall(field, kind, seconds):
    """Flood past viewers that read nothing; return what one of them reads later, and the replica's growth.

    What is measured begins when they have been stuck for 10 MB: each may hold its bound by then, and no more later.
    """
    url, token = f"http://127.0.0.1:{field.ports[0]}", field.cluster.token
    warm = field.create(flood(THEN_BYTES))  # what a flood costs a replica once is no growth
    reader = kind(url, token, warm)
    assert list(reader.events())[-1]["type"] == "succeeded"
    reader.close()
    gate = field.home / f"gate-{kind.__name__}"
    wait = f"until [ -e {gate} ]; do sleep 0.05; done"
    task = field.create(f"{flood(FIRST_BYTES)}; {wait}; {flood(THEN_BYTES)}")
    viewers = [kind(url, token, task) for _ in range(VIEWERS)]
    number = int(task.removeprefix("task-"))
    stored = "select coalesce(sum(octet_length(data)), 0) from ado.events where task_id = %s"
    until(lambda: field.sql(stored, number) == [(FIRST_BYTES,)], "the first flood", 60)
    before = memory(field.replicas[0])
    gate.touch()
    finished(field, task)
    field.last(seconds)
    growth = memory(field.replicas[0]) - before
    seen = list(viewers[0].events())
    for viewer in viewers:
        viewer.close()
    if seen[-1]["type"] != "succeeded":  # a viewer that is silent for too long is cut, and comes back
        again = kind(url, token, task, seen[-1]["seq"])
        seen += again.events()
        again.close()
    return seen, growth


def check(seen, growth):
    assert [event["seq"] for event in seen] == list(range(1, len(seen) + 1))
    parts = [event for event in seen if event["type"] == "output"]
    data = b"".join(base64.b64decode(e["data"]) if e.get("encoding") else e["data"].encode() for e in parts)
    assert data == b"x" * (FIRST_BYTES + THEN_BYTES)
    assert growth < VIEWERS * THEN_BYTES / 10, f"{growth / MEGABYTE:.0f} MB"


@pytest.mark.parametrize("kind", [SocketViewer, EventSourceViewer])
def test_viewers_that_read_nothing_do_not_grow_memory_and_lose_no_event(field, kind):
    """Twenty of them while 30 MB go by: all of them take less than a tenth of what they do not read."""
    check(*stall(field, kind, 0))


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", [SocketViewer, EventSourceViewer])
def test_a_viewer_that_pauses_for_a_minute_loses_no_event(field, kind):
    check(*stall(field, kind, 60))


def test_a_slow_postgres_slows_the_pipe_of_the_agent():
    """A link of 2 MB/s: the agent's last write waits until all but what the bounds hold is stored."""
    size, held = 12 * MEGABYTE, 4 * MEGABYTE
    with Field(env={"ADO_APPEND_BYTES": str(2 * MEGABYTE), "ADO_BUFFER_BYTES": str(MEGABYTE)}) as field:
        field.add_worker()
        for name in ("pg0", "pg1"):
            field.links[name].rate = 2 * MEGABYTE
        written = field.home / "written"
        task = field.create(f"{flood(size)}; touch {written}")
        number = int(task.removeprefix("task-"))
        stored = "select coalesce(sum(octet_length(data)), 0) from ado.events where task_id = %s"
        until(written.exists, "the agent's last write", 100)
        assert field.sql(stored, number)[0][0] > size - held
        finished(field, task)
        assert field.sql(stored, number) == [(size,)]
