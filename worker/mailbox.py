"""The messages for the agent of one attempt: the agent gets each of them once, and the server gets its receipt.

A message waits, is given to the agent, and is confirmed once the agent has taken it; then its receipt is sent. If the
agent's process ends before it has confirmed a message, that message waits again. The server repeats a message until it
has the receipt, so a message may arrive many times. All receipts are sent before the attempt's finish: the server would
otherwise continue the job with messages that its agent has already taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from worker.output.batches import Call, until_answered


@dataclass(frozen=True, slots=True)
class MailboxMessage:
    """Words for the agent."""

    message_id: str
    text: str

    @classmethod
    def of(cls, members: Mapping[str, Any]) -> MailboxMessage:
        """Make one from a message of the wire."""
        return cls(members["messageId"], members["text"])


def _number(message: MailboxMessage) -> int:
    return int(message.message_id.rpartition("-")[2])


class Mailbox:
    """The messages of one attempt."""

    def __init__(self, call: Call, fence: Mapping[str, Any]) -> None:
        self._call = call
        self._fence = fence
        self._known: set[str] = set()
        self._waiting: list[MailboxMessage] = []
        self._given: dict[str, MailboxMessage] = {}
        self._confirmed: dict[str, None] = {}
        self._receipts: list[str] = []
        self._arrived = asyncio.Event()
        self._due = asyncio.Event()
        self._closed = False

    @property
    def confirmed(self) -> tuple[str, ...]:
        """The ids of the messages that are part of the agent's conversation, in order."""
        return tuple(self._confirmed)

    @property
    def given(self) -> tuple[str, ...]:
        """The ids of the messages that the agent was given and has not taken yet."""
        return tuple(self._given)

    def know(self, message_ids: Iterable[str]) -> None:
        """Note messages that are part of the conversation from which the agent resumes; they are not given again."""
        self._known.update(message_ids)
        self._confirmed.update(dict.fromkeys(message_ids))

    def add(self, message: MailboxMessage) -> None:
        """Add a message; one that is known already changes nothing."""
        if message.message_id not in self._known:
            self._known.add(message.message_id)
            self._waiting.append(message)
            self._arrived.set()

    async def fetch(self, *, undelivered: bool = False) -> None:
        """Add the job's messages as the server has them, with ``undelivered`` only those without a receipt.

        Raises LeaseLost, CallError.
        """
        after: str | None = None
        while True:
            wish = {**self._fence, "undelivered": undelivered, "after": after}
            page = await until_answered(self._call, "workers.messages", wish)
            for item in page["items"]:
                self.add(MailboxMessage.of(item))
            after = page.get("next")
            if after is None:
                return

    async def wait(self) -> None:
        """Wait until a message waits."""
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()

    def take(self) -> list[MailboxMessage]:
        """Return the waiting messages in the order in which they were sent; they are now given to the agent.

        A new message may come by the stream of commands before ``fetch`` has the older ones.
        """
        taken, self._waiting = sorted(self._waiting, key=_number), []
        self._given.update((message.message_id, message) for message in taken)
        return taken

    def confirm(self, message_ids: Iterable[str]) -> None:
        """Note that the agent has taken given messages; their receipts are due."""
        confirmed = [name for name in message_ids if self._given.pop(name, None) is not None]
        self._confirmed.update(dict.fromkeys(confirmed))
        self._receipts += confirmed
        if confirmed:
            self._due.set()

    def take_back(self) -> None:
        """Let the messages wait again that the agent has not taken: its process has ended."""
        self._waiting = [*self._given.values(), *self._waiting]
        self._given = {}

    async def run(self) -> None:
        """Send receipts until the mailbox is closed. Raises LeaseLost, CallError."""
        while True:
            if self._receipts:
                receipts, self._receipts = self._receipts, []
                await until_answered(self._call, "workers.delivered", {**self._fence, "messageIds": receipts})
            elif self._closed:
                return
            else:
                self._due.clear()
                await self._due.wait()

    def close(self) -> None:
        """End ``run`` once the last receipt is sent."""
        self._closed = True
        self._due.set()
