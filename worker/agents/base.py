"""The interface of an agent.

An agent returns how it is started, a reader that turns its lines into events and an outcome, and the files of its HOME
that make up a session, from which another attempt resumes. Programs that only write bytes (``shell``, ``scripted``)
have no reader: their output is copied, and their exit code decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from app.core.approvals import Approval
from worker.agents.events import text
from worker.agents.requests import AgentRequest
from worker.agents.verdict import Event, Outcome, Verdict
from worker.processes.process import ProcessEnd

Line = Callable[[str, str], str]
"""Makes a line of stdin from words and their key; the agent repeats the key once it has taken them."""

CONTINUE = (
    "You were interrupted: the process that you ran in went away, and you may be on another machine now. Your files "
    "and this conversation are as they were at your last step; a command that ran then may have to be run again. "
    "Go on with the task."
)
"""The prompt with which a session is resumed."""

_SESSION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,199}")
"""A session's name becomes part of a path, and an argument that must not look like an option."""

LONGEST_ARGUMENT = 100_000
"""The largest text, in bytes, that is passed as an argument: Linux allows 128 KiB for one, with its NUL byte."""


def valid_session(name: Any) -> str | None:
    """Return the name of a session, or None if it could not be part of a path: jobs and agents send any value."""
    return name if isinstance(name, str) and _SESSION.fullmatch(name) else None


@dataclass(frozen=True, slots=True)
class Run:
    """What an agent is started with."""

    prompt: str
    directory: Path
    """Where it works."""
    home: Path
    """Its HOME: the job's own, or in local mode the user's."""
    args: Mapping[str, Any] = field(default_factory=dict)
    """The task's agentArgs."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Its environment, without the variables that ``launch`` adds."""
    session: str | None = None
    """The session to resume; its files are in HOME already."""
    reported: Mapping[str, Any] = field(default_factory=dict)
    """Usage of the session when it was saved (``AgentReader.reported``); this run's usage is what exceeds it."""
    anew: str = ""
    """The prompt for a new session, if the session cannot be resumed."""
    approve: Approval = "edits"
    """What the agent may do without asking a person."""
    trust_project: bool = False
    """Whether the agent uses the repository's own settings: hooks, MCP servers, plugins, permissions."""
    stdin: bool = False
    """Whether the agent's stdin is the job's input; the text that ``launch`` returns for stdin comes before it."""
    has_begun: bool = False
    """Whether an earlier turn of the attempt has run: the agent may have changed every file in ``home``."""
    dollars: float | None = None
    """The most that it may cost; only for agents that can keep to it by themselves."""
    local: bool = False
    """Whether a person runs it in local mode, with their own HOME, environment and permission settings."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start an agent: its command, variables for its environment, and a text for its stdin."""

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: str = ""
    line: Line | None = None
    """Makes the line on stdin by which the agent takes words while it works; None: it takes them in its next turn."""


class AgentReader:
    """Turns the lines of one run into events, and judges the run; each AI agent has a subclass.

    ``_handlers`` maps what ``_line_type`` returns for a line to the method that reads it. Other lines give no event.
    """

    def __init__(self, run: Run, *, needs_evidence: bool = False) -> None:
        self.session: str | None = run.session
        """The session's id, once it is known."""
        self.reported: dict[str, float] = dict(run.reported)
        """Usage as the agent sums it up over the session so far; a checkpoint keeps it."""
        self.usage: dict[str, float] | None = None
        """Usage of this run alone, once it is known."""
        self.result: dict[str, Any] | None = None
        """The agent's final answer, once it is there."""
        self.confirmed: list[str] = []
        """Keys of the lines of stdin that the agent has taken, in order."""
        self.requests: list[AgentRequest] = []
        """What the agent asks and waits for; only an agent that takes words while it works can."""
        self._reported_before = run.reported
        self._plans = run.approve == "none"
        self._verdict = Verdict(needs_evidence=needs_evidence)
        self._handlers: Mapping[str, Callable[[Mapping[str, Any]], list[Event]]] = {}

    def feed(self, line: Mapping[str, Any]) -> list[Event]:
        """Return the events of one line of JSON on stdout."""
        handler = self._handlers.get(str(line.get("type")))
        events = handler(line) if handler else []
        self._verdict.see(events)
        return events

    def feed_stderr(self, _line: str) -> list[Event]:
        """Return the events of a line on stderr, which is output in any case."""
        return []

    def outcome(self, end: ProcessEnd) -> Outcome:
        """Return the outcome of the run."""
        return self._verdict.outcome(end)

    def stalled(self, seconds: float) -> Outcome:
        """Return the outcome of a run without output for so many seconds."""
        return self._verdict.stalled(seconds)

    @property
    def has_worked(self) -> bool:
        """Whether the agent has used a tool, or its model has answered."""
        return self._verdict.has_worked

    def _refuse(self, tool: str, message: str) -> None:
        """Note that a tool was refused; an agent that may only plan is refused what it tries to do, by intent."""
        if not self._plans:
            self._verdict.refuse(tool, message)

    def _count_session_usage(self, sums: dict[str, float]) -> dict[str, float]:
        """Note sums over the session; return what they count for this run.

        A sum that is smaller than before the run does not go on from that one, so it counts as it is.
        """
        self.reported = {**self.reported, **sums}
        before = self._reported_before
        return {
            name: value - (before.get(name, 0) if value >= before.get(name, 0) else 0) for name, value in sums.items()
        }


class TextBuffer:
    """Collects streamed text until it is complete."""

    def __init__(self) -> None:
        self.last = ""
        """The last complete text."""
        self._pending = ""

    def add(self, text: str) -> None:
        """Add a piece."""
        self._pending += text

    def whole(self) -> list[Event]:
        """Return the event of the text that was collected, if there is any, and begin anew."""
        whole, self._pending = self._pending, ""
        self.last = whole or self.last
        return [text(whole, streamed=True)] if whole else []


@dataclass(frozen=True, slots=True)
class Needs:
    """What an agent needs to start, and what helps if that is missing."""

    program: str
    """The name of its program on PATH."""
    variables: Sequence[str] = ()
    """Variables with credentials; one of them is enough."""
    elsewhere: Sequence[str] = ()
    """Variables by which it uses credentials of the machine."""
    files: Sequence[str] = ()
    """Files under HOME with credentials; one of them is enough."""
    passed: Sequence[str] = ()
    """Other variables that it gets from the worker: endpoints, regions, models."""
    install: str = ""
    """The command that installs it."""
    sign_in: str = ""
    """What gives it credentials."""


class Agent(Protocol):
    """A program that works on a prompt."""

    @property
    def converses(self) -> bool:
        """Whether it is an AI agent, which takes a prompt in plain words and keeps a conversation."""

    @property
    def takes_messages(self) -> bool:
        """Whether it can be sent messages."""

    @property
    def needs(self) -> Needs | None:
        """What it needs to start; None if it is part of ado."""

    def launch(self, run: Run) -> Launch:
        """Return how to start it; may write files into ``run.home``. Raises OSError if it is not installed."""

    def reader(self, run: Run) -> AgentReader | None:
        """Return a reader of its stdout; None if its lines are output and its exit code decides."""

    def session_files(self, home: Path, session: str) -> list[Path]:
        """Return a session's files, all under HOME. With a copy of them at the same paths it can be resumed."""
