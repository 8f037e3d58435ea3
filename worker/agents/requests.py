"""What an agent asks its worker, and what the worker answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

_TITLE_CHARS = 500


@dataclass(frozen=True, slots=True)
class AgentQuestion:
    """What an agent asks: for a permission its ``tool``, and the ``input`` that the tool would be called with."""

    key: str
    """The same key in the same attempt is the same question."""
    kind: Literal["permission", "choice", "text", "budget"]
    text: str
    tool: str | None = None
    input: Any = None
    options: Sequence[Mapping[str, str]] = ()
    """Each with ``id`` and ``label``; a permission has ``allow`` and ``deny`` without any."""

    def within(self, directory: str) -> AgentQuestion:
        """Return it with the paths of files in the directory relative to it, if it is about a tool."""
        if self.kind != "permission":
            return self
        return replace(self, text=self.text.replace(f"{directory}/", ""))


@dataclass(frozen=True, slots=True)
class PersonsAnswer:
    """How a question ended; a permission's ``choice`` is ``allow`` or ``deny``."""

    choice: str | None = None
    text: str | None = None
    by: str | None = None
    unanswered: str | None = None
    """Why there is no answer."""

    @property
    def allows(self) -> bool:
        """Whether a permission was given."""
        return self.choice == "allow"

    @property
    def refusal(self) -> str:
        """Why a permission was not given, in words for the agent."""
        if self.unanswered:
            return f"Nobody could decide: {self.unanswered}"
        return self.text or f"{self.by or 'A person'} refused it."


@dataclass(frozen=True, slots=True)
class AgentRequest:
    """Questions of an agent that reads the answers on its stdin."""

    questions: Sequence[AgentQuestion]
    reply: Callable[[Sequence[PersonsAnswer]], str]
    """Makes the line of stdin with the answers."""


def use_of(key: str, tool: str, title: str, value: Any) -> AgentQuestion:
    """Return the question whether an agent may use a tool; ``title`` is the tool's path, command or aim."""
    if len(title) > _TITLE_CHARS:
        title = f"{title[:_TITLE_CHARS]}…"
    return AgentQuestion(key, "permission", f"use {tool}: {title}" if title else f"use {tool}", tool, value)
