"""When the stdin of an agent that takes words while it works is closed."""

import asyncio
import os
from contextlib import suppress

from worker.budget import JobBudget
from worker.mailbox import Mailbox, MailboxMessage
from worker.message_feed import MessageFeed


class Pipe:
    """The stdin of a process, and what its agent reads there."""

    def __init__(self):
        self._read, self.stdin = os.pipe()
        os.set_blocking(self._read, False)

    def close_stdin(self):
        os.close(self.stdin)
        self.stdin = None

    async def line(self):
        """Return the next line, or an empty one at the end of stdin."""
        async with asyncio.timeout(60):
            while True:
                with suppress(BlockingIOError):
                    return os.read(self._read, 1000).decode()
                await asyncio.sleep(0)


async def test_a_message_that_the_agent_takes_as_its_next_turn_leaves_its_stdin_open_for_answers_in_that_turn():
    pipe, mailbox = Pipe(), Mailbox(None, {})
    words = MessageFeed(pipe, lambda text, key: f"{key} {text}", mailbox, JobBudget({}))
    feeding = asyncio.create_task(words.run("prompt"))
    assert await pipe.line() == "prompt"
    mailbox.add(MailboxMessage("message-1", "mind the tabs"))
    key, _, text = (await pipe.line()).partition(" ")
    assert text == "mind the tabs"
    words.turn_ended()  # the turn of the prompt
    for _ in range(100):
        await asyncio.sleep(0)
    assert pipe.stdin is not None
    assert words.names([key]) == ["message-1"]
    words.reply("yes")
    assert await pipe.line() == "yes"
    words.turn_ended()
    assert await pipe.line() == ""
    await feeding
