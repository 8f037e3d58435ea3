"""A replica answers anything that a worker or a socket sends, stores no half of it, and keeps serving."""

import asyncio
import contextlib
import http.client
import json
from urllib.parse import urlsplit

from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from app.rpc.client import CallError, HttpClient

from .inputs import EVENTS, JSON_VALUES

REFUSED = ("BAD_REQUEST", "NOT_FOUND", "CONFLICT", "PAYLOAD_TOO_LARGE")
WORKER = "fuzzed"
FINISH_MEMBERS = ("exitCode", "reason", "message", "result", "usage", "lastBatch")

STEPS = st.one_of(
    st.tuples(st.just("append"), st.lists(EVENTS | JSON_VALUES, max_size=4), st.sampled_from([0, 1, 1, 1, 2, -1])),
    st.tuples(st.just("heartbeat"), JSON_VALUES, st.just(0)),
    st.tuples(
        st.just("finish"),
        st.fixed_dictionaries(
            {"outcome": st.sampled_from(["succeeded", "failed", "cancelled", "released"]) | JSON_VALUES},
            optional=dict.fromkeys(FINISH_MEMBERS, JSON_VALUES),
        ),
        st.sampled_from([0, 0, 1]),
    ),
)
STORIES = st.lists(STEPS, min_size=1, max_size=8)

FRAMES = st.lists(
    st.one_of(
        st.binary(max_size=100),
        st.text(max_size=100),
        st.fixed_dictionaries(
            {},
            optional={
                "id": JSON_VALUES,
                "method": st.sampled_from(["query", "mutation", "subscription", "subscription.stop"]) | JSON_VALUES,
                "params": st.fixed_dictionaries(
                    {"path": st.sampled_from(["tasks.get", "tasks.list", "stream.taskEvents", "x"]) | JSON_VALUES},
                    optional={"input": JSON_VALUES, "lastEventId": JSON_VALUES},
                )
                | JSON_VALUES,
            },
        ).map(json.dumps),
    ),
    min_size=1,
    max_size=10,
)


class Wire:
    """Calls with JSON as Python writes it: NaN, lone surrogates and all, which no client of ours would send."""

    def __init__(self, cluster):
        self._place = urlsplit(cluster.urls[0]).netloc
        self._headers = {"authorization": f"Bearer {cluster.token}", "content-type": "application/json"}

    def call(self, path, value):
        """Return what a mutation answered, or None where it was refused with a reason."""
        # one of its own: the replica closes a connection that has been idle for a while
        with contextlib.closing(http.client.HTTPConnection(self._place, timeout=60)) as connection:
            connection.request("POST", f"/trpc/{path}", json.dumps(value), self._headers)
            answer = json.loads(connection.getresponse().read())
        if "error" not in answer:
            return answer["result"].get("data")
        data = answer["error"]["data"]
        assert data["code"] in REFUSED, (path, value, answer)
        assert data.get("reason") or data["code"] == "BAD_REQUEST", (path, value, answer)
        return None


class Claimed:
    """A job that the test has claimed as a worker."""

    def __init__(self, client, wire):
        self.wire = wire
        registered = client.mutate("workers.register", {"workerId": WORKER, "capabilities": ["shell"], "slots": 1000})
        self.session = registered["session"]
        created = client.mutate("tasks.create", {"prompt": "x", "agent": "shell"})
        claim = {"workerId": WORKER, "session": self.session, "waitSeconds": 5}
        (job,) = client.mutate("workers.claim", claim)["jobs"]
        assert job["taskId"] == created["taskId"]
        self.task_id = job["taskId"]
        self.fence = {"workerId": WORKER, "jobId": job["jobId"], "attempt": job["attempt"]}
        self.batch = 0

    def step(self, kind, content, shift):
        """Send one call."""
        if kind == "append":
            batch = self.batch + shift
            if self.wire.call("workers.append", {**self.fence, "batch": batch, "events": content}):
                self.batch = max(self.batch, batch)
        elif kind == "heartbeat":
            beat = {"workerId": WORKER, "session": self.session, "load": content}
            self.wire.call("workers.heartbeat", beat)
        else:
            self.wire.call("workers.finish", {**self.fence, **content, "attempt": 1 + shift})


def test_a_replica_answers_any_message_of_a_worker(cluster, fuzzer):
    """Append, heartbeat and finish with any content: acknowledged or refused with a reason; the log has no gap."""
    fuzzer.run(STORIES, lambda story: tell(cluster, story), batch=50, shrink=False)


def tell(cluster, story):
    """Send one story as a worker, end it, and look at its log."""
    with contextlib.closing(HttpClient(cluster.urls, cluster.token, timeout=30)) as client:
        claimed = Claimed(client, Wire(cluster))
        for step in story:
            claimed.step(*step)
        client.mutate("tasks.cancel", {"taskId": claimed.task_id})
        with contextlib.suppress(CallError):
            client.mutate("workers.finish", {**claimed.fence, "outcome": "cancelled"})
        task = client.query("tasks.get", {"taskId": claimed.task_id})
    assert task["status"] in ("succeeded", "failed", "cancelled"), task
    number = int(claimed.task_id.removeprefix("task-"))
    seqs = [seq for (seq,) in cluster.sql("select seq from ado.events where task_id = %s order by seq", number)]
    assert seqs == list(range(1, task["lastSeq"] + 1))


def test_a_socket_answers_any_frame_or_closes(cluster, fuzzer):
    """Random frames: an answer, or a close with a code; afterwards the replica serves the next socket."""
    fuzzer.run(FRAMES, lambda frames: asyncio.run(send(cluster, frames)), batch=50, shrink=False)


async def send(cluster, frames):
    """Send frames on a socket of their own, then a right call."""
    url = cluster.urls[0].replace("http", "ws") + "/trpc"
    async with connect(url, additional_headers={"authorization": f"Bearer {cluster.token}"}) as socket:
        with contextlib.suppress(ConnectionClosed):
            for frame in frames:
                await socket.send(frame)
            last = {"id": "last", "method": "query", "params": {"path": "tasks.list", "input": {"limit": 1}}}
            await socket.send(json.dumps(last))
            async with asyncio.timeout(60):
                while True:
                    text = await socket.recv()
                    assert "INTERNAL_SERVER_ERROR" not in str(text), (frames, text)
                    if text != "PONG" and json.loads(text).get("id") == "last":
                        return
    assert socket.close_code not in (None, 1006), frames
