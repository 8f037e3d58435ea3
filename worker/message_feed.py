"""Feeds messages and answers to an agent that reads them while it works, each as a line of its stdin.

The stdin stays open until the agent ends a turn, while no message waits and it has taken all that were written, or at a
limit of the job's budget. Then it is closed, and the agent ends. A message that was written but not taken is the
agent's next turn, and that turn may ask questions, too. A message that comes after the end begins the next turn, in a
new process.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Coroutine, Iterator
from typing import Any

from worker.agents.base import Line
from worker.budget import JobBudget
from worker.mailbox import Mailbox
from worker.processes.process import KeptProcess
from worker.stdin_pipe import write_to_stdin


class MessageFeed:
    """The messages for one process of an agent."""

    def __init__(self, process: KeptProcess, line: Line, mailbox: Mailbox, budget: JobBudget) -> None:
        self._process = process
        self._line = line
        self._mailbox = mailbox
        self._budget = budget
        self._names: dict[str, str] = {}
        self._untaken: set[str] = set()
        self._replies: list[str] = []
        self._replied = asyncio.Event()
        self._turn_ended = asyncio.Event()

    def reply(self, line: str) -> None:
        """Give the agent the answer to one of its questions."""
        self._replies.append(line)
        self._replied.set()

    def names(self, keys: list[str]) -> list[str]:
        """Return the ids of the messages that were written with these keys, which the agent has taken."""
        self._untaken.difference_update(keys)
        return [self._names[key] for key in keys if key in self._names]

    def turn_ended(self) -> None:
        """Note that the agent has ended a turn; its next one begins at once if words wait on its stdin."""
        if not self._untaken:
            self._turn_ended.set()

    async def run(self, text: str) -> None:
        """Write a text and then each message, until a turn ends while none waits."""
        with contextlib.suppress(BrokenPipeError):
            await write_to_stdin(self._process, text.encode("utf-8", "surrogateescape"))
            while await self._has_line() and not self._is_over():
                for line in self._lines():
                    await write_to_stdin(self._process, line.encode())
        self._process.close_stdin()

    def _is_over(self) -> bool:
        """Whether the agent has ended a turn and its job's budget allows no other."""
        return self._turn_ended.is_set() and self._budget.reached is not None

    def _lines(self) -> Iterator[str]:
        """Yield the lines that wait: replies first, because the agent does nothing until it has them."""
        while self._replies:
            yield self._replies.pop(0)
        self._replied.clear()
        for message in [] if self._budget.is_last_turn else self._mailbox.take():
            key = str(uuid.uuid4())
            self._names[key] = message.message_id
            self._untaken.add(key)
            self._turn_ended.clear()  # these words are another turn, unless the agent takes them in this one
            yield self._line(message.text, key)

    async def _has_line(self) -> bool:
        """Wait until a line waits or a turn ends; return whether a line waits.

        Messages wait while no other turn is allowed: an agent may take them in this turn or in the next one.
        """
        waits: list[Coroutine[Any, Any, Any]] = [self._turn_ended.wait(), self._replied.wait()]
        waits += [] if self._budget.is_last_turn else [self._mailbox.wait()]
        tasks = [asyncio.create_task(wait, name="stdin line") for wait in waits]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return any(task.done() for task in tasks[1:])
        finally:
            for task in tasks:
                task.cancel()
