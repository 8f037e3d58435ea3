"""Candidates for the last word of a command line."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cyclopts import App

Live = Callable[[str, Mapping[str, str]], Sequence[str]]
"""Returns the values of a kind, such as ``task``; the options that were typed say where to ask."""
_OPTIONS = {
    "agent": "agent",
    "context": "context",
    "created_by": "user",
    "label": "label",
    "status": "status",
    "task": "task",
    "user": "user",
    "worker": "worker",
}
_POSITIONS = {
    ("context", "remove"): "context",
    ("context", "use"): "context",
    ("help",): "topic",
    ("users", "disable"): "user",
    ("users", "set"): "user",
}
_BREAKS = frozenset("=:")
_LONGEST = 200


@dataclass
class _Line:
    """The parsed words before the last one."""

    command: App
    path: tuple[str, ...] = ()
    arguments: list[Any] = field(default_factory=list)
    positions: int = 0
    pending: Any = None
    """The option whose value comes next."""
    typed: dict[str, str] = field(default_factory=dict)
    """Values of options by the names of their parameters."""
    ended: bool = False
    """Whether ``--`` ended the options."""

    def take(self, word: str) -> None:
        """Parse one more word."""
        name, equals, value = word.partition("=")
        option = None if self.ended or not word.startswith("-") else self._option(name)
        if self.pending is not None:
            self.typed[self.pending.field_info.name] = word
            self.pending = None
        elif word == "--":
            self.ended = True
        elif option is not None and equals:
            self.typed[option.field_info.name] = value
        elif option is not None:
            self.pending = option if option.token_count()[0] else None
        elif not self.ended and not self.positions and not word.startswith("-") and word in self.command:
            self.command, self.path = self.command[word], (*self.path, word)
            self.arguments = _arguments(self.command)
        elif self.ended or not word.startswith("-"):
            self.positions += 1

    def option_of(self, word: str) -> tuple[Any, str]:
        """Return the option whose value the last word holds, and what stands before the value in that word."""
        if self.pending is not None:
            return self.pending, ""
        name, equals, _ = word.partition("=")
        return (self._option(name), name + equals) if equals and not self.ended else (None, "")

    def _option(self, name: str) -> Any:
        return next((argument for argument in self.arguments if name in argument.names), None)


def candidates(app: App, words: Sequence[str], live: Live) -> list[str]:
    """Return candidates for the last word, without unprintable ones; without I/O except in ``live``."""
    *before, word = [_unquoted(word) for word in words]
    line = _Line(app)
    for text in before:
        line.take(text)
    option, prefix = line.option_of(word)
    if option is not None:
        values = _values(option, word.removeprefix(prefix), line, live)
        return _matching([prefix + value for value in values], word)
    if word.startswith("-") and not line.ended:
        return _matching(sorted(name for argument in line.arguments for name in argument.names if name[0] == "-"), word)
    commands = [name for name in line.command if not name.startswith("-") and line.command[name].show]
    if commands:
        return _matching(sorted(commands), word)
    return _matching(_position(line, live), word)


def as_typed(words: Sequence[str], find: Callable[[Sequence[str]], list[str]]) -> list[str]:
    """Return candidates for the last of words that bash has split at ``=`` and ``:``."""
    joined: list[str] = []
    last = ""
    together = False
    for word in words:
        divides = word in _BREAKS
        if joined and (divides or together):
            joined[-1] += word
        else:
            joined.append(word)
        together = divides and len(joined) > 1
        last = "" if divides else word
    prefix = joined[-1].removesuffix(last) if joined else ""
    return [candidate.removeprefix(prefix) for candidate in find(joined or [""])]


def _values(option: Any, word: str, line: _Line, live: Live) -> Sequence[str]:
    choices = list(option.get_choices() or ())
    kind = _OPTIONS.get(option.field_info.name)
    if choices or kind is None:
        return choices
    if kind == "status":
        chosen, comma, _ = word.rpartition(",")
        return [chosen + comma + value for value in live(kind, line.typed) if value not in chosen.split(",")]
    if kind == "label" and "=" not in word:
        return list(dict.fromkeys(value.partition("=")[0] for value in live(kind, line.typed)))
    return live(kind, line.typed)


def _position(line: _Line, live: Live) -> Sequence[str]:
    names = [argument.field_info.name for argument in line.arguments if not argument.names[0].startswith(("-", "*"))]
    name = names[min(line.positions, len(names) - 1)] if names else ""
    kind = name if name in ("task", "worker") else _POSITIONS.get(line.path)
    return live(kind, line.typed) if kind else []


def _arguments(command: App) -> list[Any]:
    if not command.default_command:
        return []
    return [argument for argument in command.assemble_argument_collection() if argument.parameter.show is not False]


def _matching(names: Sequence[str], word: str) -> list[str]:
    return [name for name in names if name.startswith(word) and name.isprintable() and 0 < len(name) <= _LONGEST]


def _unquoted(word: str) -> str:
    """Return a word without the quotes and backslashes of a shell; it may end within them."""
    for closing in ("", "'", '"'):
        try:
            parts = shlex.split(word + closing)
        except ValueError:
            continue
        if len(parts) == 1:
            return parts[0]
    return word
