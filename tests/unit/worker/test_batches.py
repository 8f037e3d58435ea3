"""Numbered batches against a scripted server: a stand-in for the transport, because a real one cannot be made to
lose exactly one answer."""

import orjson
import pytest

from app.rpc.client import CallError, Unreachable
from worker import batches
from worker.batches import BatchSender, LeaseLost, until_answered
from worker.output import Outbox


class Server:
    """Stores batches as the real one does, and fails as it is told to."""

    def __init__(self, *failures, refuses=lambda value: None):
        self.failures = list(failures)
        self.refuses = refuses
        self.calls = []
        self.stored = {}

    async def call(self, path, value):
        self.calls.append(value["batch"])
        value = orjson.loads(orjson.dumps(value))
        failure = self.failures.pop(0) if self.failures else self.refuses(value)
        if not isinstance(failure, CallError) or failure.code == "SERVICE_UNAVAILABLE":
            self.stored.setdefault(value["batch"], value["events"])
        if failure:
            raise failure
        return {"acknowledged": value["batch"]}


def error(code, reason=None):
    return CallError("no", {"code": code, "reason": reason})


async def send(server, texts):
    outbox = Outbox(1 << 20)
    for text in texts:
        outbox.put({"type": "progress", "message": text})
    outbox.close()
    sender = BatchSender(server.call, outbox, {"jobId": "task-1/0"})
    await sender.run()
    return sender


async def test_batches_count_from_one():
    server = Server()
    sender = await send(server, [str(number) for number in range(2500)])
    assert server.calls == [1, 2, 3]
    assert sender.last == 3
    stored = [event["message"] for batch in server.stored.values() for event in batch]
    assert stored == [str(number) for number in range(2500)]


async def test_a_lost_answer_sends_the_same_batch_again():
    server = Server(Unreachable("http://x", "cut"), error("SERVICE_UNAVAILABLE"), None, Unreachable("http://x", "cut"))
    await send(server, [str(number) for number in range(1500)])
    assert server.calls == [1, 1, 1, 2, 2]


async def test_a_lost_lease_ends_the_sending():
    server = Server(None, error("CONFLICT", "lease_lost"))
    with pytest.raises(LeaseLost):
        await send(server, [str(number) for number in range(5000)])
    assert server.calls == [1, 2]


async def test_a_refusal_for_good_is_not_repeated():
    server = Server(error("BAD_REQUEST", "limit_exceeded"))
    with pytest.raises(CallError):
        await until_answered(server.call, "workers.append", {"batch": 1, "events": []})
    assert server.calls == [1]


def refuse_many(value):
    return error("BAD_REQUEST", "limit_exceeded") if len(value["events"]) > 3 else None


def refuse_bad(value):
    bad = [event for event in value["events"] if event.get("message") == "bad"]
    return error("BAD_REQUEST", "invalid_input") if bad else None


async def test_a_batch_that_is_refused_is_sent_in_parts():
    """Nothing is lost, doubled or out of order, and each batch has the next number."""
    server = Server(refuses=refuse_many)
    sender = await send(server, [str(number) for number in range(50)])
    stored = [event["message"] for number in sorted(server.stored) for event in server.stored[number]]
    assert stored == [str(number) for number in range(50)]
    assert sorted(server.stored) == list(range(1, sender.last + 1))


async def test_the_one_event_that_is_refused_becomes_a_dropped_event():
    server = Server(refuses=refuse_bad)
    await send(server, ["a", "b", "bad", "c", "bad", "d"])
    events = [event for number in sorted(server.stored) for event in server.stored[number]]
    assert [event.get("message") or event["type"] for event in events] == ["a", "b", "dropped", "c", "dropped", "d"]
    assert {event["reason"] for event in events if event["type"] == "dropped"} == {"invalid_input"}
    assert all(event["bytes"] > 40 for event in events if event["type"] == "dropped")


async def test_a_server_that_refuses_everything_ends_the_sending():
    """Also the ``dropped`` event may be refused, by a server of an older release; it is not sent for ever."""
    server = Server(refuses=lambda value: error("BAD_REQUEST", "event_type"))
    sender = await send(server, ["a", "b"])
    assert sender.last == 0
    assert len(server.calls) <= 5


async def test_a_server_that_fails_for_ever_ends_the_sending(monkeypatch):
    monkeypatch.setattr(batches, "_MOST_FAILURES", 3)
    server = Server(*[error("INTERNAL_SERVER_ERROR")] * 100)
    with pytest.raises(CallError):
        await send(server, ["a"])
    assert server.calls == [1] * 4


async def test_failures_of_a_server_that_was_away_between_them_do_not_add_up(monkeypatch):
    monkeypatch.setattr(batches, "_MOST_FAILURES", 2)
    failed, away = error("INTERNAL_SERVER_ERROR"), Unreachable("http://x", "cut")
    server = Server(failed, failed, away, failed, error("SERVICE_UNAVAILABLE"), failed, failed, None)
    await send(server, ["a"])
    assert len(server.calls) == 8
