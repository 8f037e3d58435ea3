"""The questions of one attempt: a person answers, and the worker brings the agent the answer.

A question is asked until the server has it, under a key that makes it one question however often it is asked. Its end
comes by ``workers.commands``, and is acknowledged. In case that stream is broken, an open question is asked again after
``_ASK_AGAIN_SECONDS``, and the answer of that call has its state. A command of the job (``ado ask``) asks by itself and
gets its answer itself. The worker only knows that it waits (``worker.job_sockets``), and acknowledges the end as well.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from app.rpc.client import CallError
from worker.agents.requests import AgentQuestion, PersonsAnswer
from worker.output.batches import Call, until_answered
from worker.output.wire_events import clean_text

TEXT_CHARS = 8000
"""The longest text of a question; a server takes 16,000."""
TOOL_CHARS = 150
INPUT_BYTES = 8000
"""The longest input of a tool, as JSON, that is sent whole; a server takes 16 KiB."""
_ASK_AGAIN_SECONDS = 20.0
_LEVELS = 100
"""Levels that the encoder must have room for around an input: it writes 254, and so many replicas and clients add."""


class Questions:
    """The questions of one attempt."""

    def __init__(self, call: Call, fence: Mapping[str, Any]) -> None:
        self._call = call
        self._fence = fence
        self._ends: dict[object, asyncio.Future[Mapping[str, Any]]] = {}
        self._open: dict[object, float] = {}
        """Since when each open question waits, the oldest first."""
        self._asked = asyncio.Event()
        self._is_held = False
        self._settled: list[str] = []
        self._due = asyncio.Event()
        self._closed = False

    @property
    def are_open(self) -> bool:
        """Whether the job waits for an answer."""
        return bool(self._open)

    async def outlast(self, seconds: float) -> None:
        """Wait until one question has been open for so many seconds."""
        loop = asyncio.get_running_loop()
        while True:
            oldest = next(iter(self._open.values()), None)
            if oldest is None:
                self._asked.clear()
                await self._asked.wait()
            elif (left := oldest + seconds - loop.time()) > 0:
                await asyncio.sleep(left)
            else:
                return

    def hold(self) -> None:
        """Acknowledge no answer from now on: the next attempt begins with those that the agent has not got."""
        self._is_held = True

    async def ask(self, question: AgentQuestion) -> PersonsAnswer:
        """Ask, and wait until the question has ended. Raises LeaseLost."""
        with self.waiting(object()):
            try:
                wish = {**self._fence, **_members(question)}
                return _decision(await self._wait(wish, await until_answered(self._call, "workers.ask", wish)))
            except CallError as error:
                return PersonsAnswer(unanswered=error.message)

    @contextlib.contextmanager
    def waiting(self, this: object) -> Iterator[None]:
        """Count the job as waiting within the block, or until the question ends if ``this`` is the id of one."""
        if this not in self._ends or not self._ends[this].done():
            self._open[this] = asyncio.get_running_loop().time()
            self._asked.set()
        try:
            yield
        finally:
            self._open.pop(this, None)

    async def _wait(self, wish: dict[str, Any], asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the question once it is no longer open. All waiting for people is done here."""
        while asked["state"] == "open":
            try:
                async with asyncio.timeout(_ASK_AGAIN_SECONDS):
                    asked = await asyncio.shield(self._end_of(asked["questionId"]))
            except TimeoutError:
                asked = await until_answered(self._call, "workers.ask", wish)
        return asked

    def settle(self, question: Mapping[str, Any]) -> None:
        """Take a question that is no longer open, as the server's command has it, and acknowledge the command."""
        if self._is_held:
            return
        ended = self._end_of(question["questionId"])
        if not ended.done():
            ended.set_result(question)
        self._open.pop(question["questionId"], None)
        self._settled.append(question["questionId"])
        self._due.set()

    def _end_of(self, question_id: str) -> asyncio.Future[Mapping[str, Any]]:
        """Return what will be the ended question: its command may come before the answer of the call that asks it."""
        return self._ends.setdefault(question_id, asyncio.get_running_loop().create_future())

    async def run(self) -> None:
        """Send acknowledgements until closed. Raises LeaseLost, CallError."""
        while not self._closed:
            if self._settled:
                settled, self._settled = self._settled, []
                await until_answered(self._call, "workers.delivered", {**self._fence, "questionIds": settled})
            else:
                self._due.clear()
                await self._due.wait()

    def close(self) -> None:
        """End ``run``; what is not acknowledged then ends with the attempt."""
        self._closed = True
        self._due.set()


def _members(question: AgentQuestion) -> dict[str, Any]:
    """Return a question as ``workers.ask`` takes it; what is too long is cut, and says so."""
    members: dict[str, Any] = {
        "key": question.key[:200],
        "kind": question.kind,
        "text": clean_text(question.text, TEXT_CHARS) or question.kind,
        "options": list(question.options),
    }
    if question.tool is not None:
        members |= {"tool": _printable(clean_text(question.tool, TOOL_CHARS) or "?")}
        members |= {"input": _input_that_fits(question.input)}
    return members


def _printable(name: str) -> str:
    """Return a tool's name without characters by which it could look like another's."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in name)


def _input_that_fits(value: Any) -> Any:
    """Return a tool's input as a server accepts it: whole, or as a text with the beginning of its JSON."""
    enclosed = value
    for _ in range(_LEVELS):
        enclosed = [enclosed]
    try:
        data = orjson.dumps(enclosed)[_LEVELS:-_LEVELS]
    except (TypeError, RecursionError):  # a lone surrogate, an integer above 64 bits, too many levels
        return "(the input cannot be shown)"
    if len(data) > INPUT_BYTES:
        return f"{data[:INPUT_BYTES].decode('utf-8', 'ignore')} … (cut: the whole input has {len(data)} bytes)"
    return data.decode() if b"\\u0000" in data else value


def _decision(question: Mapping[str, Any]) -> PersonsAnswer:
    """Return how a question ended that is no longer open."""
    answer = question.get("answer")
    if answer is None:
        late = question["state"] == "expired"
        return PersonsAnswer(unanswered="nobody answered in time" if late else "the question was closed")
    return PersonsAnswer(answer.get("choice"), answer.get("text"), question.get("by"))
