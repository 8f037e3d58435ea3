"""Asks the questions of a watched task on the terminal, where a key or a line answers each.

The server's list of open questions decides what is asked. It is read again after each event that may have changed it,
so a question goes away when somebody else answers it. The terminal gives single keys only while a question that a key
answers is open, and is restored afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from app.rpc.client import CallError, Client, NoAnswer
from app.rpc.client.retry import is_passing

_QUIET = frozenset({"output", "agent", "progress"})
"""Types of events that change no question."""
_PERMISSION = {"a": ("allow", "no"), "d": ("deny", "no"), "A": ("allow", "task")}
_MOST_KEYS = 9
_BYTES = 64 * 1024
_AGAIN_SECONDS = 2.0  # soon enough for a person, and few calls for a server that is busy or just comes back
Answer = Mapping[str, str]


def can_ask() -> bool:
    """Whether this process reads the keys of a terminal and writes to one: a program in the background must not."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    with contextlib.suppress(OSError):
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    return False


def keys_of(question: Mapping[str, Any]) -> dict[str, Answer]:
    """Return what each key answers; an empty map if a line answers."""
    choices = [option["id"] for option in question["options"]]
    if choices == ["allow", "deny"]:
        return {key: {"choice": choice, "remember": kept} for key, (choice, kept) in _PERMISSION.items()}
    if len(choices) > _MOST_KEYS:
        return {}
    return {str(number): {"choice": choice} for number, choice in enumerate(choices, 1)}


def prompt_of(question: Mapping[str, Any]) -> str:
    """Return the line that says how to answer."""
    name, keys = question["questionId"], keys_of(question)
    if "a" in keys:
        return f"ado: {name}: press a to allow, A to allow this tool for the rest of the task, d to deny"
    labels = [option["label"] for option in question["options"]]
    if keys:
        return f"ado: {name}: press " + ", ".join(f"{key} for {label}" for key, label in zip(keys, labels, strict=True))
    if labels:
        ids = ", ".join(option["id"] for option in question["options"])
        return f"ado: {name}: type one of these and press Enter: {ids}"
    return f"ado: {name}: type the answer and press Enter"


def answer_of(question: Mapping[str, Any], typed: str) -> Answer | None:
    """Return the answer that a key or a line gives; None for any other."""
    if keys := keys_of(question):
        return keys.get(typed)
    line = typed.strip()
    if question["options"]:
        return {"choice": line} if any(option["id"] == line for option in question["options"]) else None
    return {"text": line} if line else None


class InlineQuestions:
    """The questions of one task, and of one of its jobs if it is given; ``say`` writes a line."""

    def __init__(self, task_id: str, job: int | None, say: Callable[[str], None]) -> None:
        self._task_id = task_id
        self._job = job
        self._say = say
        self._changed = asyncio.Event()
        self._changed.set()
        self._later: asyncio.TimerHandle | None = None
        self._left: set[str] = set()
        """Questions that cannot be answered here."""

    def note(self, event: Mapping[str, Any]) -> None:
        """Look at the open questions again after an event that may have changed them."""
        if event["type"] not in _QUIET:
            self.look_again()

    def look_again(self) -> None:
        """Read the list of open questions again."""
        self._changed.set()

    def _look_later(self) -> None:
        """Read the list again in a while: once, however many events led to an error meanwhile."""
        if self._later is not None:
            self._later.cancel()
        self._later = asyncio.get_running_loop().call_later(_AGAIN_SECONDS, self.look_again)

    async def run(self, client: Client) -> None:
        """Ask, one question after the other, until cancelled."""
        while True:
            await self._changed.wait()
            if (question := await self._first(client)) is not None:
                await self._ask(client, question)

    async def _first(self, client: Client) -> Mapping[str, Any] | None:
        """Return the oldest open question that can be answered here."""
        self._changed.clear()
        try:
            page = await client.query("questions.list", {"taskId": self._task_id})
        except (CallError, NoAnswer) as error:
            if is_passing(error):  # no event need follow: the agent waits for the answer
                self._look_later()
            return None
        wanted = (item for item in page["items"] if item["questionId"] not in self._left)
        return next((item for item in wanted if self._job in (None, item["job"])), None)

    async def _ask(self, client: Client, question: Mapping[str, Any]) -> None:
        """Ask one question until it is answered, here or elsewhere."""
        with _typed(lines=not keys_of(question)) as typed:
            self._say(prompt_of(question))
            while True:
                reading = asyncio.create_task(typed.get(), name="key")
                changing = asyncio.create_task(self._changed.wait(), name="change")
                try:
                    await asyncio.wait([reading, changing], return_when=asyncio.FIRST_COMPLETED)
                finally:
                    reading.cancel()
                    changing.cancel()
                if not reading.done():
                    first = await self._first(client)
                    if first is None or first["questionId"] != question["questionId"]:
                        self._changed.set()
                        return
                elif (answer := answer_of(question, reading.result())) is not None:
                    await self._give(client, question["questionId"], answer)
                    self._changed.set()
                    return

    async def _give(self, client: Client, name: str, answer: Answer) -> None:
        """Send an answer. The event in the log shows it; an error that does not pass leaves the question to others."""
        self._left.add(name)
        try:
            await client.mutate("questions.answer", {"questionId": name, **answer}, resend=True)
        except CallError as error:
            if is_passing(error):
                self._left.discard(name)
            self._say(f"ado: {error.message}" + (f" (next: {error.hint})" if error.hint else ""))
        except NoAnswer as error:
            self._left.discard(name)
            self._say(f"ado: the answer did not arrive: {error}")


@contextlib.contextmanager
def _typed(*, lines: bool) -> Iterator[asyncio.Queue[str]]:
    """Collect what is typed, as lines or as single keys without echo; what was typed before is dropped."""
    fd, typed = sys.stdin.fileno(), asyncio.Queue[str]()
    before = termios.tcgetattr(fd)

    def read() -> None:
        data = b""
        with contextlib.suppress(OSError):  # the terminal has gone
            data = os.read(fd, _BYTES)
        if not data:
            loop.remove_reader(fd)
        text = data.decode("utf-8", "replace")
        for piece in [text] if lines else text:
            typed.put_nowait(piece)

    loop = asyncio.get_running_loop()
    if not lines:
        tty.setcbreak(fd, termios.TCSANOW)  # Ctrl-C still interrupts
    termios.tcflush(fd, termios.TCIFLUSH)  # a key that was meant for another question must not answer this one
    loop.add_reader(fd, read)
    try:
        yield typed
    finally:
        loop.remove_reader(fd)
        with contextlib.suppress(termios.error):
            termios.tcsetattr(fd, termios.TCSANOW, before)
