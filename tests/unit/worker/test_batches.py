"""Numbered batches against a scripted server: a stand-in for the transport, because a real one cannot be made to
lose exactly one answer."""

import pytest

from app.rpc.client import CallError, Unreachable
from worker.batches import BatchSender, LeaseLost, until_answered
from worker.output import Outbox


class Server:
    """Stores batches as the real one does, and fails as it is told to."""

    def __init__(self, *failures):
        self.failures = list(failures)
        self.calls = []
        self.stored = {}

    async def call(self, path, value):
        self.calls.append(value["batch"])
        self.stored.setdefault(value["batch"], value["events"])
        failure = self.failures.pop(0) if self.failures else None
        if failure:
            raise failure
        return {"acknowledged": value["batch"]}


def error(code, reason=None):
    return CallError("no", {"code": code, "reason": reason})


async def send(server, texts):
    outbox = Outbox(1 << 20)
    for text in texts:
        outbox.put({"type": "progress", "message": text}, 10)
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
