"""Feeds messages to an agent that takes words while it works, each as a line of its stdin.

The stdin stays open until the agent ends a turn while no message waits. Then it is closed, and the agent ends once it
has read what was written before. A message that comes later begins the next turn, in a new process.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid

from worker.agents.base import Line
from worker.mailbox import Mailbox
from worker.processes.process import KeptProcess
from worker.stdin_pipe import write_to_stdin


class WordFeed:
    """The messages for one process of an agent."""

    def __init__(self, process: KeptProcess, line: Line, mailbox: Mailbox) -> None:
        self._process = process
        self._line = line
        self._mailbox = mailbox
        self._names: dict[str, str] = {}
        self._turn_ended = asyncio.Event()

    def names(self, keys: list[str]) -> list[str]:
        """Return the ids of the messages that were written with these keys."""
        return [self._names[key] for key in keys if key in self._names]

    def turn_ended(self) -> None:
        """Note that the agent has ended a turn."""
        self._turn_ended.set()

    async def run(self, text: str) -> None:
        """Write a text and then each message, until a turn ends while none waits."""
        with contextlib.suppress(BrokenPipeError):
            await write_to_stdin(self._process, text.encode("utf-8", "surrogateescape"))
            while await self._has_message():
                for message in self._mailbox.take():
                    key = str(uuid.uuid4())
                    self._names[key] = message.message_id
                    self._turn_ended.clear()  # these words are another turn, unless the agent takes them in this one
                    await write_to_stdin(self._process, self._line(message.text, key).encode())
        self._process.close_stdin()

    async def _has_message(self) -> bool:
        """Wait until a message waits or a turn ends; return whether a message waits."""
        arriving = asyncio.create_task(self._mailbox.wait(), name="message")
        ending = asyncio.create_task(self._turn_ended.wait(), name="turn end")
        try:
            await asyncio.wait([arriving, ending], return_when=asyncio.FIRST_COMPLETED)
            return arriving.done()
        finally:
            arriving.cancel()
            ending.cancel()
