"""Watching a task: replay, then live, over any number of connections, until its log ends.

A lost connection is reported as such and is never taken for the end. Ctrl-C only detaches: the task goes on. The end is
reported after the last byte of output has been written.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.rpc.client import CallError, Client, NoAnswer, State
from cli import exits
from cli.agents import agents_of
from cli.bell import ring_for_end, ring_for_question
from cli.output import OutputLost, talk, write_bytes, write_json, write_pieces
from cli.remote.checked_calls import socket
from cli.remote.contexts import ServerContext
from cli.remote.fleet import why_waiting
from cli.remote.idle_health_check import IdleHealthCheck
from cli.remote.inline_questions import InlineQuestions, can_ask
from cli.remote.listing import ENDED
from cli.remote.log_reader import LogReader
from cli.remote.summary import summary
from cli.render.agent_lines import own_line
from cli.render.lines import LastLines, Lines, Piece, Style, payload
from cli.render.task_ending import sentence
from cli.render.terminal import colours, columns, terminals

if TYPE_CHECKING:
    from cli.remote.input_sender import InputSender

_WAITING_SECONDS = 3.0
_MOST_EVENTS = 1_000_000  # limit of one request for the end of a log


@dataclass(frozen=True, slots=True)
class View:
    """The part of a task's log to show, and its form."""

    task_id: str
    jobs: int
    procedure: str = "stream.taskEvents"
    follow: bool = True
    job: int | None = None
    attempt: int | None = None
    tail: int | None = None
    """How many of the last lines to show; as JSON or raw, how many of the last events."""
    since: str | float | None = None
    after: int | None = None
    timestamps: bool = False
    stderr_only: bool = False
    raw: bool = False
    own_lines: bool = False
    """Whether an AI agent's own lines are shown instead of what they say."""
    json_lines: bool = False
    silent: bool = False
    stdin: bool = False
    """Whether stdin is sent to the task's job."""
    notify: bool = False
    """Whether the terminal's bell rings when the task ends, and for each question after ``known``."""
    known: int = 0
    """The number of the last event when the command began."""
    verdict: bool = True
    """Whether the exit code is the task's and a summary ends the output."""

    @property
    def by_lines(self) -> bool:
        """Whether ``tail`` counts lines."""
        return self.tail is not None and self.after is None and not (self.json_lines or self.raw or self.silent)

    def input(self, **other: Any) -> dict[str, Any]:
        """Return the input of the subscription."""
        members = {
            "taskId": self.task_id,
            "follow": self.follow,
            "job": self.job,
            "tail": self.tail,
            "since": self.since,
            "stream": "stderr" if self.stderr_only else None,
            **other,
        }
        return {name: value for name, value in members.items() if value is not None}


class Follower:
    """Shows one task."""

    def __init__(self, server: ServerContext, view: View) -> None:
        self._server = server
        self._view = view
        many = view.jobs > 1 and view.job is None
        self._style = Style(
            many, terminals(), colours(sys.stdout) or colours(sys.stderr), view.timestamps, view.own_lines, columns
        )
        self._lines = Lines(self._style)
        self._started = asyncio.Event()
        self._health_check = IdleHealthCheck(self._talk)
        self._connection_state = "connected"
        self._questions = InlineQuestions(view.task_id, view.job, self._talk) if self._asks() else None

    def _asks(self) -> bool:
        """Whether the task's questions are asked here."""
        view = self._view
        is_watched = view.follow and view.verdict and not (view.json_lines or view.raw or view.silent or view.stdin)
        return is_watched and can_ask()

    async def run(self) -> int:
        """Show the task until its log ends or the user leaves; return the exit code."""
        loop = asyncio.get_running_loop()
        showing = asyncio.create_task(self._show(), name="show")
        left = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, left.set)
        leaving = asyncio.create_task(left.wait(), name="leave")
        sender = self._sender()
        ends: list[asyncio.Future[Any]] = [showing, leaving, *([sender.refused] if sender else [])]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        if sender is not None:
            sender.stop()
        if showing.done():
            try:
                return await showing
            except OutputLost as error:
                step = f"{self._view.task_id} goes on; once there is room: ado attach {self._view.task_id}"
                raise OutputLost(error.__cause__ or error, step) from error  # type: ignore[arg-type]
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)
        if sender is not None and not sender.refused.cancelled():
            sender.refused.result()
        self._show_next_commands(incomplete=sender is not None and not sender.complete)
        return exits.DETACHED

    def _sender(self) -> InputSender | None:
        """Start to send stdin if the view says so."""
        if not self._view.stdin:
            return None
        from cli.remote.input_sender import InputSender

        sender = InputSender(self._server, self._view.task_id)
        sender.start()
        return sender

    def _show_next_commands(self, *, incomplete: bool) -> None:
        name = self._view.task_id
        self._talk("")
        self._talk(f"ado: detached; {name} goes on")
        if incomplete:
            self._talk("  its stdin was cut off here: it waits for the rest, which nobody sends")
        self._talk(f"  ado attach {name}      watch it again")
        self._talk(f"  ado tasks show {name}  see where it is")
        self._talk(f"  ado cancel {name}      stop it")

    async def _show(self) -> int:
        async with socket(self._server, on_state=self._connection) as client:
            waiting = asyncio.create_task(self._explain_waiting(client), name="waiting")
            silence = asyncio.create_task(self._health_check.watch(client), name="silence")
            beside = [waiting, silence]
            if self._questions is not None:
                beside.append(asyncio.create_task(self._questions.run(client), name="questions"))
            try:
                await self._stream(client)
                if not self._view.verdict:
                    return exits.SUCCESS
                task = await client.query("tasks.get", {"taskId": self._view.task_id})
            finally:
                for task_beside in beside:
                    task_beside.cancel()
                await asyncio.gather(*beside, return_exceptions=True)
        self._end(task)
        if self._view.notify:
            ring_for_end(task)
        return exits.of_task(task)

    async def _stream(self, client: Client) -> None:
        view = self._view
        last = None if view.after is None else str(view.after)
        query = view.input()
        if view.by_lines:
            last = await self._last_lines(client, view.tail or 0)
            if not view.follow or await self._job_has_ended(client):
                self._write_pieces(self._lines.rest())
                return
            query = view.input(tail=None)
        async for item in LogReader(client, view.procedure, query).read(last):
            event = item.data
            self._health_check.note_event()
            if event["type"] != "created":
                self._started.set()
            self._write(event)
            if self._questions is not None:
                self._questions.note(event)
            if view.notify and event["type"] == "question" and event["seq"] > view.known:
                ring_for_question(event)
            if view.follow and event["type"] == "finished" and await self._job_has_ended(client, event):
                break
        self._write_pieces(self._lines.rest())

    async def _job_has_ended(self, client: Client, event: Mapping[str, Any] | None = None) -> bool:
        """Whether the job that is shown has ended, with this event if there is one; a retried job runs again."""
        if self._view.job is None:
            return False
        task = await client.query("tasks.get", {"taskId": self._view.task_id})
        job = task["jobs"][self._view.job]
        return job["status"] in ENDED and (event is None or event["attempt"] == job["attempt"])

    async def _last_lines(self, client: Client, count: int) -> str | None:
        """Write the last lines of the log so far, and return the cursor after them.

        The number of events that make so many lines is unknown: the request grows until they are enough.
        """
        view, events, last = self._view, count + 50, None
        while True:
            lines, last_lines, received = Lines(self._style), LastLines(count), 0
            events = min(events, _MOST_EVENTS)
            query = view.input(follow=False, tail=events)
            async for item in client.subscribe(view.procedure, query):
                last, received = item.id, received + 1
                if item.data["type"] != "created":
                    self._started.set()
                if self._shown(item.data):
                    last_lines.add(self._selected(lines.feed(item.data)))
            if last_lines.full or received < events or events == _MOST_EVENTS:
                break
            events *= 8
        if view.follow:
            self._lines = lines
        else:
            last_lines.add(self._selected(lines.rest()))
        write_pieces(last_lines.pieces())
        return last

    def _shown(self, event: Mapping[str, Any]) -> bool:
        return self._view.attempt is None or event.get("attempt") in (None, self._view.attempt)

    def _write(self, event: Mapping[str, Any]) -> None:
        view = self._view
        if view.silent or not self._shown(event):
            return
        if view.json_lines:
            write_json(event)
            return
        if view.raw:
            if event["type"] == "output":
                if event["stream"] == "stderr" or not view.stderr_only:
                    write_bytes(payload(event))
            elif event["type"] == "agent":
                write_bytes(own_line(event).encode())
            return
        self._write_pieces(self._lines.feed(event))

    def _write_pieces(self, pieces: Iterable[Piece]) -> None:
        write_pieces(self._selected(pieces))

    def _selected(self, pieces: Iterable[Piece]) -> Iterable[Piece]:
        return (piece for piece in pieces if piece[0] == 2 or not self._view.stderr_only)

    def _talk(self, line: str) -> None:
        """Write a message in a row of its own, below an unfinished line."""
        self._write_pieces(self._lines.make_room())
        talk(line)

    def _end(self, task: Mapping[str, Any]) -> None:
        view = self._view
        if view.json_lines or view.raw or view.silent:
            return
        if view.jobs > 1:
            for line in summary(task, sys.stderr):
                self._talk(line)
            if len(agents_of(task)) > 1:
                self._talk(f"ado: what each agent made of it: ado compare {task['taskId']}")
        elif reason := sentence(task):
            self._talk(f"ado: {reason}")

    def _connection(self, state: State) -> None:
        if state.kind == self._connection_state:
            return
        self._connection_state = state.kind
        if self._questions is not None:
            self._questions.look_again()
        if state.kind == "lost":
            self._talk(f"ado: connection lost ({state.detail}), retrying")
        elif state.kind == "moving":
            self._talk("ado: the server is moving its clients to another replica, connecting again")
        else:
            self._talk("ado: connected again")

    async def _explain_waiting(self, client: Client) -> None:
        shown = ""
        while not self._started.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_WAITING_SECONDS):
                    await self._started.wait()
                    return
            with contextlib.suppress(CallError, NoAnswer):
                task = await client.query("tasks.get", {"taskId": self._view.task_id, "explain": True})
                reason = why_waiting(task)
                if reason and reason != shown and not self._started.is_set():
                    shown = reason
                    self._talk(f"ado: waiting: {reason}")


def follow(server: ServerContext, view: View) -> int:
    """Show a task; return the exit code."""
    return asyncio.run(Follower(server, view).run())
