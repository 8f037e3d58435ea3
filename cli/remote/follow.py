"""Showing a task's log over any number of connections, until it ends.

A lost connection is reported as such and is never taken for the end. Ctrl-C only detaches: the task goes on. The end is
reported after the last byte of output has been written.

What is stored already is read by blocking calls. A task that still runs is watched by ``live_follow``, which does
several things at once and needs asyncio and a WebSocket. Their import takes as long as a short task, so a new task is
first watched by blocking calls as well, for as long as nothing else is to be done: why it waits is said after three
seconds, and only a question needs keys.
"""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from app.rpc.client import State
from app.rpc.client.event_stream import BlockingClient, finish
from app.rpc.client.reading import StopReading
from cli import exits
from cli.agents import agents_of
from cli.bell import ring_for_end, ring_for_question
from cli.output import OutputLost, talk, write_bytes, write_json, write_pieces
from cli.remote.checked_calls import check
from cli.remote.contexts import ServerContext
from cli.remote.idle_health_check import IdleHealthCheck
from cli.remote.listing import ENDED
from cli.remote.log_reader import LogReader
from cli.remote.summary import summary
from cli.render.agent_lines import own_line
from cli.render.lines import LastLines, Lines, Piece, Style, payload
from cli.render.task_ending import sentence
from cli.render.terminal import colours, columns, is_dumb, terminals

if TYPE_CHECKING:
    from app.rpc.client import Client, HttpClient

    Reader = Client | BlockingClient

_MOST_EVENTS = 1_000_000  # limit of one request for the end of a log
_BEGIN_SECONDS = 2.0  # a second less than until a task's waiting is explained


class View(NamedTuple):
    """The part of a task's log to show, and its form. A dataclass of so many fields would take 2 ms to make."""

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
    ended: bool = False
    """Whether the task had ended when the command began."""

    @property
    def by_lines(self) -> bool:
        """Whether ``tail`` counts lines."""
        return self.tail is not None and self.after is None and not (self.json_lines or self.raw or self.silent)

    @property
    def is_live(self) -> bool:
        """Whether events are awaited that are not stored yet."""
        return self.follow and not self.ended

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


class FollowProgress:
    """How far one task has been shown; a follower hands it to the next."""

    def __init__(self, lines: Lines, health_check: IdleHealthCheck) -> None:
        self.lines = lines
        self.health_check = health_check
        self.reader: LogReader | None = None
        self.connection_state = "connected"
        self.began_at = time.monotonic()
        self.started = False
        """Whether anything followed the task's creation."""


class Follower:
    """Shows one task, from where ``begun`` has shown it to."""

    def __init__(self, server: ServerContext, view: View, begun: FollowProgress | None = None) -> None:
        self._server = server
        self._view = view
        many = view.jobs > 1 and view.job is None
        coloured = colours(sys.stdout) or colours(sys.stderr)
        self._style = Style(
            many, terminals(), coloured, view.timestamps, view.own_lines, columns=columns, dumb=is_dumb()
        )
        self.progress = begun or FollowProgress(Lines(self._style), IdleHealthCheck(self._talk))
        self._is_beginning = False

    def replay(self) -> int:
        """Show what is stored; return the exit code."""
        return self._read(self._client())

    def begin(self, calls: HttpClient) -> int | None:
        """Show a new task for two seconds, or until a question; return the exit code, or None if it goes on.

        Single calls go on with the connection of ``calls``.
        """
        self._is_beginning = True
        try:
            return self._read(self._client(calls, self.progress.began_at + _BEGIN_SECONDS))
        except StopReading:
            return None

    def leave(self) -> int:
        """Say that the user leaves; return the exit code."""
        self._show_next_commands()
        return exits.DETACHED

    def _client(self, calls: HttpClient | None = None, until: float = math.inf) -> BlockingClient:
        client = BlockingClient(
            self._server.urls,
            self._server.token,
            on_state=self._connection,
            on_ping=lambda: finish(self.progress.health_check.look(client)),
            check=check,
            trust=self._server.trust,
            calls=calls,
            until=until,
        )
        return client

    def _read(self, client: BlockingClient) -> int:
        """Show what a client reads until the task ends or the user leaves. Raises StopReading."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        try:
            return self._end(finish(self._show(client)))
        except KeyboardInterrupt:
            return self.leave()
        except OutputLost as error:
            raise self._output_lost(error) from error
        finally:
            client.close()

    async def _show(self, client: Reader) -> Mapping[str, Any] | None:
        """Show the log; return the task if its end decides the exit code."""
        await self._stream(client)
        if not self._view.verdict:
            return None
        task: dict[str, Any] = await client.query("tasks.get", {"taskId": self._view.task_id})
        return task

    def _output_lost(self, error: OutputLost) -> OutputLost:
        step = f"{self._view.task_id} goes on; once there is room: ado attach {self._view.task_id}"
        return OutputLost(error.__cause__ or error, step)  # type: ignore[arg-type]

    def _show_next_commands(self, *, incomplete: bool = False) -> None:
        name = self._view.task_id
        self._talk("")
        self._talk(f"ado: detached; {name} goes on")
        if incomplete:
            self._talk("  its stdin was cut off here: it waits for the rest, which nobody sends")
        self._talk(f"  ado attach {name}      watch it again")
        self._talk(f"  ado tasks show {name}  see where it is")
        self._talk(f"  ado cancel {name}      stop it")

    async def _stream(self, client: Reader) -> None:
        view = self._view
        if (reader := await self._reader(client)) is None:
            self._write_pieces(self.progress.lines.rest())
            return
        async for item in reader.read(client):
            event = item.data
            self._note(event)
            self._write(event)
            if view.notify and event["type"] == "question" and event["seq"] > view.known:
                ring_for_question(event)
            if view.follow and event["type"] == "finished" and await self._job_has_ended(client, event):
                break
            if self._is_beginning and event["type"] == "question":
                raise StopReading
        self._write_pieces(self.progress.lines.rest())

    async def _reader(self, client: Reader) -> LogReader | None:
        """Return the reader of the log; None when its last lines, which are written here, are all there is to show."""
        view, progress = self._view, self.progress
        if progress.reader is None:
            last, query = None if view.after is None else str(view.after), view.input()
            if view.by_lines:
                last, query = await self._last_lines(client, view.tail or 0), view.input(tail=None)
                if not view.follow or await self._job_has_ended(client):
                    return None
            progress.reader = LogReader(view.procedure, query, last)
        return progress.reader

    def _note(self, event: Mapping[str, Any]) -> None:
        """Note that an event arrived."""
        self.progress.health_check.note_event()
        self.progress.started |= event["type"] != "created"

    async def _job_has_ended(self, client: Reader, event: Mapping[str, Any] | None = None) -> bool:
        """Whether the shown job has ended, in the attempt of ``event`` if there is one: a retried job runs again."""
        if self._view.job is None:
            return False
        task = await client.query("tasks.get", {"taskId": self._view.task_id})
        job = task["jobs"][self._view.job]
        return job["status"] in ENDED and (event is None or event["attempt"] == job["attempt"])

    async def _last_lines(self, client: Reader, count: int) -> str | None:
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
                self._note(item.data)
                if self._shown(item.data):
                    last_lines.add(self._selected(lines.feed(item.data)))
            if last_lines.full or received < events or events == _MOST_EVENTS:
                break
            events *= 8
        if view.follow:
            self.progress.lines = lines
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
        self._write_pieces(self.progress.lines.feed(event))

    def _write_pieces(self, pieces: Iterable[Piece]) -> None:
        write_pieces(self._selected(pieces))

    def _selected(self, pieces: Iterable[Piece]) -> Iterable[Piece]:
        return (piece for piece in pieces if piece[0] == 2 or not self._view.stderr_only)

    def _talk(self, line: str) -> None:
        """Write a message in a row of its own, below an unfinished line."""
        self._write_pieces(self.progress.lines.make_room())
        talk(line)

    def _end(self, task: Mapping[str, Any] | None) -> int:
        """Report the end of the task, and return the exit code."""
        if task is None:
            return exits.SUCCESS
        self._show_end(task)
        if self._view.notify:
            ring_for_end(task)
        return exits.of_task(task)

    def _show_end(self, task: Mapping[str, Any]) -> None:
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
        if state.kind == self.progress.connection_state:
            return
        self.progress.connection_state = state.kind
        if state.kind == "lost":
            self._talk(f"ado: connection lost ({state.detail}), retrying")
        elif state.kind == "moving":
            self._talk("ado: the server is moving its clients to another replica, connecting again")
        else:
            self._talk("ado: connected again")
