"""The messages of one attempt: each is given once, and its receipt is sent until the server has it."""

import asyncio

import pytest

from app.rpc.client import CallError, NoAnswer
from worker.mailbox import Mailbox, MailboxMessage
from worker.output.batches import LeaseLost

FENCE = {"workerId": "w", "jobId": "task-1/0", "attempt": 2}


class Server:
    """Keeps receipts, and answers with the messages it has."""

    def __init__(self):
        self.receipts = []
        self.pages = {}
        self.trouble = []

    async def call(self, path, value):
        if self.trouble:
            raise self.trouble.pop(0)
        if path == "workers.messages":
            return self.pages[value["after"]]
        assert path == "workers.delivered"
        assert value.items() >= FENCE.items()
        self.receipts.append(value["messageIds"])
        return {}


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def mailbox(server):
    return Mailbox(server.call, FENCE)


async def send_receipts(mailbox):
    mailbox.close()
    async with asyncio.timeout(60):
        await mailbox.run()


def message(number):
    return MailboxMessage(f"message-{number}", f"words {number}")


async def test_a_message_that_comes_twice_is_given_once(mailbox, server):
    for _ in range(3):
        mailbox.add(message(1))
    assert mailbox.take() == [message(1)]
    mailbox.add(message(1))
    mailbox.confirm(["message-1"])
    mailbox.add(message(1))
    assert mailbox.take() == []
    await send_receipts(mailbox)
    assert server.receipts == [["message-1"]]


async def test_only_what_the_agent_has_taken_has_a_receipt_and_the_rest_waits_again_in_its_order(mailbox, server):
    for number in (1, 2, 3):
        mailbox.add(message(number))
    assert mailbox.take() == [message(1), message(2), message(3)]
    mailbox.add(message(4))
    mailbox.confirm(["message-2", "message-9"])
    mailbox.take_back()
    assert mailbox.take() == [message(1), message(3), message(4)]
    await send_receipts(mailbox)
    assert server.receipts == [["message-2"]]
    assert mailbox.confirmed == ("message-2",)


async def test_an_older_message_that_comes_later_is_given_first(mailbox):
    for number in (10, 9):
        mailbox.add(message(number))
    assert mailbox.take() == [message(9), message(10)]


async def test_what_the_session_has_already_is_not_given_again(mailbox):
    mailbox.know(["message-1"])
    mailbox.add(message(1))
    mailbox.add(message(2))
    assert mailbox.take() == [message(2)]


async def test_a_receipt_is_sent_until_it_is_answered(mailbox, server):
    server.trouble = [NoAnswer("http://x", "gone"), CallError("no", {"code": "SERVICE_UNAVAILABLE"})]
    mailbox.add(message(1))
    mailbox.take()
    mailbox.confirm(["message-1"])
    await send_receipts(mailbox)
    assert server.receipts == [["message-1"]]


async def test_an_attempt_that_is_lost_sends_no_more_receipts(mailbox, server):
    server.trouble = [CallError("gone", {"code": "CONFLICT", "reason": "lease_lost"})]
    mailbox.add(message(1))
    mailbox.take()
    mailbox.confirm(["message-1"])
    with pytest.raises(LeaseLost):
        await send_receipts(mailbox)


async def test_messages_are_read_page_by_page(mailbox, server):
    first = [{"messageId": f"message-{number}", "text": f"words {number}"} for number in (1, 2)]
    server.pages = {None: {"items": first, "next": "message-2"}, "message-2": {"items": []}}
    await mailbox.fetch()
    assert mailbox.take() == [message(1), message(2)]
