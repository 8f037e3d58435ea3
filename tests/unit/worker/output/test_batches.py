"""Numbered batches against a scripted server: a stand-in for the transport, because a real one cannot be made to
lose exactly one answer."""

import asyncio
import os
from functools import partial

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.procedures.append import parse_event
from app.rpc.backoff import Backoff
from app.rpc.client import CallError, NoAnswer, retry
from app.rpc.errors import ProcedureError
from app.settings import AppSettings
from worker.output import batches
from worker.output.batches import BatchSender, LeaseLost, until_answered
from worker.output.buffer import Outbox
from worker.output.event_pipe import EventPipe
from worker.output.masking import NO_SECRETS
from worker.output.wire_events import is_text


class Server:
    """Stores batches as the real one does, and fails on demand."""

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
    server = Server(NoAnswer("http://x", "cut"), error("SERVICE_UNAVAILABLE"), None, NoAnswer("http://x", "cut"))
    await send(server, [str(number) for number in range(1500)])
    assert server.calls == [1, 1, 1, 2, 2]


@pytest.mark.parametrize("code", ["SERVICE_UNAVAILABLE", "INTERNAL_SERVER_ERROR", "TOO_MANY_REQUESTS", "TIMEOUT"])
async def test_a_refusal_that_passes_sends_the_same_batch_again(code):
    server = Server(error(code), None)
    sender = await send(server, ["a"])
    assert (server.calls, sender.last) == ([1, 1], 1)


@pytest.mark.parametrize("code", ["UNAUTHORIZED", "FORBIDDEN", "NOT_FOUND", "CONFLICT", "METHOD_NOT_SUPPORTED"])
async def test_any_other_refusal_ends_the_sending(code):
    server = Server(error(code), None)
    with pytest.raises(CallError):
        await send(server, ["a"])
    assert server.calls == [1]


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


async def test_a_server_that_keeps_failing_ends_the_sending(monkeypatch):
    monkeypatch.setattr(batches, "_MOST_FAILURES", 3)
    server = Server(*[error("INTERNAL_SERVER_ERROR")] * 100)
    with pytest.raises(CallError):
        await send(server, ["a"])
    assert server.calls == [1] * 4


async def test_failures_of_a_server_that_was_away_between_them_do_not_add_up(monkeypatch):
    monkeypatch.setattr(batches, "_MOST_FAILURES", 2)
    monkeypatch.setattr(retry, "Backoff", partial(Backoff, longest=0.05))  # the count is tested, not the pauses
    failed, away = error("INTERNAL_SERVER_ERROR"), NoAnswer("http://x", "cut")
    server = Server(failed, failed, away, failed, error("SERVICE_UNAVAILABLE"), failed, failed, None)
    await send(server, ["a"])
    assert len(server.calls) == 8


@pytest.mark.parametrize("data", [b"a" * 5000, "é".encode() * 2500, bytes(range(256)) * 20, b"\x00" * 5000])
async def test_output_that_is_too_large_for_the_server_is_sent_in_parts(data):
    """Its limit may have been lowered since the worker registered: nothing of the output is lost."""
    limited = AppSettings(dsn="postgresql://x", event_bytes=100)

    def refuse_large(value):
        try:
            [parse_event(event, limited) for event in value["events"]]
        except ProcedureError as refusal:
            return error(refusal.code, refusal.reason)
        return None

    server = Server(refuses=refuse_large)
    outbox = Outbox(1 << 20)
    outbox.write("stderr", data, text=is_text(data))
    outbox.close()
    await BatchSender(server.call, outbox, {}).run()
    events = [event for number in sorted(server.stored) for event in server.stored[number]]
    assert b"".join(parse_event(event, limited).data for event in events) == data
    assert {event["stream"] for event in events} == {"stderr"}


async def test_a_batch_has_at_most_the_events_that_the_server_accepts():
    server = Server()
    outbox = Outbox(1 << 20)
    for number in range(25):
        outbox.put({"type": "progress", "percent": number})
    outbox.close()
    await BatchSender(server.call, outbox, {}, batch_events=10).run()
    assert [len(server.stored[number]) for number in (1, 2, 3)] == [10, 10, 5]


OUTPUT = st.tuples(st.sampled_from(["stdout", "stderr"]), st.binary(max_size=200), st.integers(1, 2000))
LINES = st.binary(max_size=60) | st.text(max_size=30).map(str.encode) | st.sampled_from([
    b'{"type":"progress","message":"\\ud800"}', b'{"type":"progress","percent":99999999999999999999999}',
    b'{"type":"progress","x":' + b"[" * 400 + b"]" * 400 + b"}", b'{"type":"agent","at":5,"seq":-1,"taskId":[]}',
    b'{"type":"progress","message":"\\u0000"}', b'{"type":"output","data":7}', b'{"type":"progress","percent":NaN}',
])  # fmt: skip


@given(st.lists(OUTPUT | LINES, max_size=12))
@settings(max_examples=60, deadline=None)
def test_the_server_accepts_the_frames_of_any_output(writes):
    """Through pipe, outbox and batches: every frame is within the server's limits and nothing of the output is lost."""
    asyncio.run(through(writes))


async def through(writes):
    taken = AppSettings(dsn="postgresql://x")
    outbox = Outbox(1 << 26)
    expected = {"stdout": b"", "stderr": b""}
    server = Server(refuses=lambda value: None)

    async def call(path, value):
        assert len(orjson.dumps(value)) < taken.body_bytes
        return await server.call(path, value)

    read, write = os.pipe()
    lines = [line for line in writes if isinstance(line, bytes)]
    pipe = asyncio.create_task(EventPipe(read, outbox, NO_SECRETS, lambda _: None).run())
    os.write(write, b"\n".join(lines))
    os.close(write)
    await pipe
    for stream, piece, times in (item for item in writes if not isinstance(item, bytes)):
        outbox.write(stream, piece * times, is_text(piece * times))
        expected[stream] += piece * times
    outbox.close()
    await BatchSender(call, outbox, {}).run()
    found = [parse_event(event, taken) for number in sorted(server.stored) for event in server.stored[number]]
    for stream, data in expected.items():
        assert b"".join(event.data for event in found if event.stream == stream) == data
    assert {event.type for event in found} <= {"output", "progress", "agent", "dropped"}
