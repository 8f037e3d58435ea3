"""What a worker asks of an agent.

An agent says how it is started in a place, how its lines become events, how its end becomes an outcome, and which
files of its HOME make up a session, so that another attempt can go on where this one was cut off. Programs that only
write bytes (``shell``, ``scripted``) have no reader: their output is copied and their exit code decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from worker.processes.process import ProcessEnd

Event = dict[str, Any]
"""A normalised event: ``event`` names it (see ``worker.agents.events``), the other members are its own."""

CONTINUE = (
    "The machine you worked on went away and you were moved to another one. Your files and this conversation are as "
    "they were at your last step; a command that ran then may have to be run again. Go on with the task."
)
"""The prompt of a resumed session."""

LONGEST_ARGUMENT = 100_000
"""Bytes up to which a text may be an argument: Linux allows 128 KiB with the end mark, whatever the sum may be."""

TURN_ENDS = frozenset({"tool_end", "result"})
"""Events after which an agent has written its session to its files, so that it can be saved."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended, as it is reported."""

    outcome: str
    exit_code: int | None = None
    reason: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """What an agent is started for."""

    prompt: str
    directory: Path
    """Where it works."""
    home: Path
    """Its HOME: the job's own, or in local mode the user's."""
    args: Mapping[str, Any] = field(default_factory=dict)
    """The task's agentArgs."""
    env: Mapping[str, str] = field(default_factory=dict)
    """The environment it will have, but for what ``launch`` adds."""
    session: str | None = None
    """The session to go on with; its files are back in HOME already."""
    reported: Mapping[str, Any] = field(default_factory=dict)
    """Usage of the session when it was saved (``AgentReader.reported``); this run's usage is what exceeds it."""
    anew: str = ""
    """What to ask in a new session, where the one that is resumed turns out to be gone."""
    isolated: bool = False
    """Whether nothing but the job is within the agent's reach, so that it need not ask for permission."""
    trust_project: bool = False
    """Whether the repository's own settings for the agent count: hooks, MCP servers, plugins, permissions."""
    stdin: bool = False
    """Whether the agent's stdin is the job's input; what ``launch`` returns for stdin comes before it."""
    local: bool = False
    """Whether a person runs it here, with their own HOME, environment and permission settings."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start it: what to execute, what to add to the job's environment, and what it reads from stdin."""

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: str = ""


class AgentReader(Protocol):
    """What the lines of one run say; made for each run."""

    @property
    def session(self) -> str | None:
        """The session's id, once it is known."""

    @property
    def reported(self) -> Mapping[str, Any]:
        """Usage as the agent has summed it up over the session so far; to be saved with it."""

    @property
    def usage(self) -> Mapping[str, Any] | None:
        """Usage of this run alone, once it is known."""

    @property
    def result(self) -> Mapping[str, Any] | None:
        """The agent's final answer, once it is there."""

    def feed(self, line: Mapping[str, Any]) -> list[Event]:
        """Return the events that one line of JSON stands for."""

    def feed_stderr(self, line: str) -> list[Event]:
        """Return the events that a line on stderr stands for; the line itself is output all the same."""

    def outcome(self, ended: ProcessEnd) -> Outcome:
        """Judge by what was said last and how the process ended."""

    def stalled(self, seconds: float) -> Outcome:
        """Judge a run that has said nothing for so many seconds."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What an agent needs to start, and what to do where that is missing."""

    program: str
    """The command that is looked for on PATH."""
    variables: Sequence[str] = ()
    """Variables that hold credentials; one of them will do."""
    elsewhere: Sequence[str] = ()
    """Variables that say that the credentials are the machine's."""
    files: Sequence[str] = ()
    """AttemptFiles under HOME that hold credentials; one of them will do."""
    passed: Sequence[str] = ()
    """Other variables of the worker's environment that it is given: endpoints, regions, models."""
    install: str = ""
    """The command that installs it."""
    sign_in: str = ""
    """What gives it credentials."""


class Agent(Protocol):
    """A program that works on a prompt."""

    @property
    def needs(self) -> Needs | None:
        """What it needs to start; None: it is part of ado."""

    def launch(self, run: Run) -> Launch:
        """Return how to start it; may lay files into ``run.home``. Raises OSError when it is not there."""

    def reader(self, run: Run) -> AgentReader | None:
        """Return a reader for the lines it writes to stdout; None: they are output, and the exit code decides."""

    def session_files(self, home: Path, session: str) -> list[Path]:
        """Return the files that make up a session, all under HOME; copied to the same places they resume it."""


def exit_outcome(ended: ProcessEnd) -> Outcome:
    """Judge a process by its exit code alone."""
    if ended.error is not None:
        return Outcome("failed", None, "start_failed", ended.error)
    if ended.signal is not None:
        return Outcome("failed", 128 + ended.signal, "exit_nonzero", f"ended by signal {ended.signal}")
    if ended.exit_code:
        return Outcome("failed", ended.exit_code, "exit_nonzero", f"exit code {ended.exit_code}")
    return Outcome("succeeded", 0)
