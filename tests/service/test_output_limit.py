"""A job may write more than the server keeps: it continues, and the dropped bytes are counted."""

import base64
import json
from datetime import UTC, datetime

import pytest
from support.program import PATIENT, Cluster

from app.log.appender import OTHER_BYTES
from app.rpc.client import CallError, HttpClient

LIMIT = 100_000
CHUNK = 30_000


@pytest.fixture
def limited(dsn, home):
    """Two replicas whose leases outlast a test: the worker that the test is sends no heartbeats."""
    env = {"ADO_OUTPUT_BYTES": str(LIMIT), **PATIENT}
    made = Cluster(dsn, home, env=env)
    try:
        yield made.add_replicas(2)
    finally:
        made.close()


@pytest.fixture
def replicas(limited):
    """A client at each replica, and a job claimed by hand."""
    clients = [HttpClient([url], limited.token) for url in limited.urls]
    clients[0].mutate("tasks.create", {"prompt": "x", "agent": "shell", "retries": 1})
    hello = {"workerId": "w1", "capabilities": ["shell"], "instance": "i"}
    session = clients[0].mutate("workers.register", hello)["session"]

    def claim():
        return clients[0].mutate("workers.claim", {"workerId": "w1", "session": session})["jobs"][0]

    yield clients, claim
    for client in clients:
        client.close()


def output(size=CHUNK):
    return {"type": "output", "data": "x" * size, "at": datetime.now(UTC).isoformat()}


def append(client, number, events, attempt=1):
    fence = {"workerId": "w1", "jobId": "task-1/0", "attempt": attempt}
    return client.mutate("workers.append", {**fence, "batch": number, "events": events})["acknowledged"]


def finish(client, outcome, last, attempt=1):
    fence = {"workerId": "w1", "jobId": "task-1/0", "attempt": attempt}
    return client.mutate("workers.finish", {**fence, "lastBatch": last, "outcome": outcome, "exitCode": 1})


def test_output_beyond_the_limit_is_counted_and_other_events_are_kept(limited, replicas):
    (first, second), claim = replicas
    claim()
    sent = [[output()] for _ in range(4)] + [[output(), {"type": "progress", "percent": n}] for n in range(3)]
    for number, events in enumerate(sent, 1):
        client = (first, second)[number % 2]
        assert append(client, number, events) == number
        assert append(client, number, events) == number  # its answer was lost: nothing is counted twice
    with pytest.raises(CallError, match="batch 9 came before batch 8"):
        append(first, 9, [output()])
    assert finish(first, "succeeded", len(sent))["droppedBytes"] == 3 * CHUNK
    events = limited.events("task-1")
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    kinds = [event["type"] for event in events]
    assert kinds == ["created", "started", *["output"] * 4, "progress", "truncated", *["progress"] * 2,
                     "finished", "succeeded"]  # fmt: skip
    assert (events[7]["limitBytes"], events[7]["droppedBytes"]) == (LIMIT, CHUNK)
    assert events[-2]["droppedBytes"] == 3 * CHUNK
    read = limited.ado("logs", "task-1", "--raw", check=0)
    assert len(read.stdout) == 4 * CHUNK
    assert f"{3 * CHUNK} bytes of output beyond the server's limit were dropped".encode() in read.stderr


@pytest.mark.parametrize("kind", ["progress", "agent", "checkpoint", "dropped"])
def test_every_type_of_event_has_a_limit(limited, replicas, kind):
    (first, second), claim = replicas
    claim()
    event = {"type": kind, "message": "x" * 400_000}
    for number in range(1, 11):
        assert append((first, second)[number % 2], number, [event]) == number
    job = finish(first, "succeeded", 10)
    stored = [event for event in limited.events("task-1") if event["type"] == kind]
    assert LIMIT + OTHER_BYTES <= 400_000 * len(stored) <= LIMIT + OTHER_BYTES + 400_100
    assert 400_000 * (10 - len(stored)) <= job["droppedBytes"] <= 400_100 * (10 - len(stored))
    kinds = [event["type"] for event in limited.events("task-1")]
    assert kinds == ["created", "started", *[kind] * len(stored), "truncated", "finished", "succeeded"]


def test_events_without_content_have_a_limit(limited, replicas):
    (first, second), claim = replicas
    claim()
    for number in range(1, 5):
        assert append((first, second)[number % 2], number, [{"type": "output", "data": ""}] * 500) == number
    finish(first, "succeeded", 4)
    assert [event["type"] for event in limited.events("task-1")].count("output") == 1000


def test_the_next_attempt_has_its_own_limit(limited, replicas):
    (first, _), claim = replicas
    claim()
    for number in range(1, 7):
        append(first, number, [output()])
    finish(first, "failed", 6)
    assert claim()["attempt"] == 2
    append(first, 1, [output()], attempt=2)
    assert "droppedBytes" not in finish(first, "failed", 1, attempt=2)
    kinds = [event["type"] for event in limited.events("task-1")]
    assert (kinds.count("output"), kinds.count("truncated")) == (5, 1)
    assert next(event for event in limited.events("task-1") if event["type"] == "requeued")["droppedBytes"] == 2 * CHUNK


def test_an_agent_that_writes_too_much_keeps_its_result(limited):
    limited.add_worker("w1")
    script = [{"repeat": 2000, "steps": [{"bytes": base64.b64encode(b"\xff" * 9_999 + b"\n").decode()}]}, {"exit": 7}]
    prompt = "\n".join(map(json.dumps, script))
    done = limited.ado("run", "--remote", "--agent", "scripted", prompt, check=7)
    assert LIMIT <= len(done.stdout) < 10_000_000
    assert b"has reached the server's limit of 100000 bytes" in done.stderr
    job = limited.task("task-1")["jobs"][0]
    assert (job["status"], len(done.stdout) + job["droppedBytes"]) == ("failed", 20_000_000)
