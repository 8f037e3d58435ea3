"""A log that has lost its tail, as after a failover or a restored backup: each reader gets the error and recovers."""

import contextlib
import itertools
import json
import threading
import urllib.request
from urllib.parse import quote

import pytest
from support.program import PATIENT, Cluster, until

from app.rpc.client import CallError, Client, HttpClient

PROCEDURES = ("stream.taskEvents", "stream.taskOutput", "stream.taskProgress")


class Writer:
    """A task whose only worker is the test."""

    def __init__(self, cluster):
        self._client = HttpClient(cluster.urls, cluster.token)
        self.cluster = cluster
        self.task = self._client.mutate("tasks.create", {"prompt": "x", "agent": "shell"})["taskId"]
        self.number = int(self.task.removeprefix("task-"))
        worker = {"workerId": "raw", "capabilities": ["shell"], "instance": "1"}
        session = self._client.mutate("workers.register", worker)["session"]
        claimed = self._client.mutate("workers.claim", {"workerId": "raw", "session": session})["jobs"]
        assert [job["taskId"] for job in claimed] == [self.task]
        self._mine = {"workerId": "raw", "jobId": f"{self.task}/0", "attempt": 1}
        self.batch = 0

    def close(self):
        self._client.close()

    def append(self, *texts):
        self.batch += 1
        events = [{"type": "output", "data": text} for text in texts]
        self._client.mutate("workers.append", {**self._mine, "batch": self.batch, "events": events})

    def finish(self):
        self._client.mutate("workers.finish", {**self._mine, "outcome": "succeeded", "lastBatch": self.batch})

    def lose_after(self, seq):
        """Let the database lose the events after one."""
        self.cluster.sql(
            "with lost as (delete from ado.events where task_id = %s and seq > %s)"
            " update ado.task_logs set last_seq = %s where task_id = %s returning 1",
            self.number, seq, seq, self.number,
        )  # fmt: skip

    def replace_after(self, seq):
        """Let the database have other events after one: lost, and grown again before anybody looked.

        Another server has taken over, so the connections of the listeners end.
        """
        self.cluster.sql(
            "update ado.events set data = 'new', stored_at = stored_at + interval '1 ms'"
            " where task_id = %s and seq > %s and type = 'output' returning 1",
            self.number, seq,
        )  # fmt: skip
        self.cluster.sql(
            "select pg_terminate_backend(pid, 10000) from pg_stat_activity"
            " where application_name = 'ado-listen' and datname = current_database()"
        )


@pytest.fixture
def cluster(dsn, home):
    """Two replicas whose leases outlast a test: the writer sends no heartbeats."""
    made = Cluster(dsn, home, env=PATIENT)
    try:
        yield made.add_replicas(2)
    finally:
        made.close()


@pytest.fixture
def writer(cluster):
    with contextlib.closing(Writer(cluster)) as made:
        yield made


async def read(url, token, procedure, cursor, **wish):
    async with Client([url], token) as client:
        return [item async for item in client.subscribe(procedure, wish, last_event_id=cursor)]


async def test_every_replica_refuses_a_cursor_behind_the_end(cluster, writer):
    writer.append("a", "b")  # created, started and these two
    for ended in (False, True):
        if ended:
            writer.finish()
        last = 6 if ended else 4
        for url, procedure, follow in itertools.product(cluster.urls, PROCEDURES, (True, False)):
            for cursor in (str(last + 1), "999999999999999999"):
                with pytest.raises(CallError) as caught:
                    await read(url, cluster.token, procedure, cursor, taskId=writer.task, follow=follow)
                error = caught.value
                assert (error.code, error.reason, error.data["lastSeq"]) == ("CONFLICT", "cursor_ahead", last)
                assert error.hint
            assert await read(url, cluster.token, procedure, str(last), taskId=writer.task, follow=False) == []


WRONG_IDS = ("x", "-1", "1.5", "", "9" * 19, "9" * 5000, "1e3", "٣", "0x1", "1 ", "\0")
WRONG_INPUTS = (-1, 2**63, 2**64 - 1, 1e300, 1.5, True, [], {})


async def test_an_invalid_cursor_is_refused_by_its_field(cluster, writer):
    wishes = [(cursor, {}) for cursor in WRONG_IDS] + [(None, {"lastEventId": value}) for value in WRONG_INPUTS]
    for cursor, more in wishes:
        with pytest.raises(CallError) as caught:
            await read(cluster.urls[0], cluster.token, "stream.taskEvents", cursor, taskId=writer.task, **more)
        assert (caught.value.code, caught.value.data["field"]) == ("BAD_REQUEST", "lastEventId"), (cursor, more)


async def test_a_cursor_of_a_removed_task_is_refused_as_unknown(cluster, writer):
    with pytest.raises(CallError) as caught:
        await read(cluster.urls[0], cluster.token, "stream.taskEvents", "5", taskId="task-99")
    assert (caught.value.code, caught.value.reason) == ("NOT_FOUND", "no_such_task")


def test_an_event_stream_ends_with_an_error_for_a_cursor_behind_the_end(cluster, writer):
    wish = quote(json.dumps({"taskId": writer.task}))
    request = urllib.request.Request(
        f"{cluster.urls[1]}/trpc/stream.taskEvents?input={wish}",
        headers={"authorization": f"Bearer {cluster.token}", "last-event-id": "77"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        text = answer.read().decode()
    event, data = text.strip().split("\n\n")[-1].split("\n")
    assert event == "event: serialized-error"
    shape = json.loads(data.removeprefix("data: "))
    assert shape["code"] == -32009  # tRPC's clients do not come back after this one
    assert (shape["data"]["reason"], shape["data"]["lastSeq"]) == ("cursor_ahead", 2)


class Watching:
    """``ado attach`` as JSON lines, read as they come."""

    def __init__(self, cluster, *arguments, url):
        self.process = cluster.open(*arguments, "-o", "jsonl", url=url)
        self.events = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self):
        for line in self.process.stdout:
            self.events.append(json.loads(line))

    def ended(self):
        self.process.wait(60)
        self._thread.join()
        return self.process.stderr.read().decode()

    def texts(self):
        return [(event["seq"], event["data"]) for event in self.events if event["type"] == "output"]


@pytest.mark.parametrize("lose", ["lose_after", "replace_after"])
def test_viewers_of_every_replica_resume_after_the_last_stored_event(cluster, writer, lose):
    writer.append(*"abcdefgh")  # seq 3 to 10
    watching = [Watching(cluster, "attach", writer.task, url=url) for url in cluster.urls]
    watching.append(Watching(cluster, "logs", "-f", writer.task, url=cluster.urls[0]))
    for viewer in watching:
        until(lambda viewer=viewer: len(viewer.events) == 10, "the events there are")
    getattr(writer, lose)(6)
    writer.append("new", "new", "new")
    if lose == "replace_after":
        writer.append("new")
    writer.finish()
    first = [(3, "a"), (4, "b"), (5, "c"), (6, "d"), (7, "e"), (8, "f"), (9, "g"), (10, "h")]
    second = [(seq, "new") for seq in range(7, 10 if lose == "lose_after" else 15)]
    for viewer in watching:
        err = viewer.ended()
        assert viewer.texts() == first + second
        assert err.count("the log was rewound: the server lost events after seq 6 (restored backup or failover)") == 1
        assert viewer.process.returncode == 0
    assert cluster.ado("wait", writer.task).returncode == 0


def test_attach_from_behind_the_end_reports_it_and_continues_at_the_end(cluster, writer):
    writer.append("a")
    viewer = Watching(cluster, "attach", writer.task, "--from", "500", url=cluster.urls[0])
    line = viewer.process.stderr.readline().decode()
    assert "the server lost events after seq 3" in line
    writer.append("b")
    writer.finish()
    viewer.ended()
    assert viewer.texts() == [(4, "b")]
