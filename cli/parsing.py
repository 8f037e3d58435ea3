"""Errors of the parser of options, turned into the form of every other error."""

from __future__ import annotations

import re
from typing import Any, get_args

from cyclopts import (
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from cli.errors import CliError, nearest, usage

_KINDS = {int: "a whole number", float: "a number"}
_HOMES = {"list": "tasks list", "ls": "tasks list", "ps": "tasks list", "rm": "tasks rm", "show": "tasks show"}
"""Words of other programs, and the command of ado that does the same."""


def explain(error: CycloptsError) -> CliError:
    """Return the parser's error with the help of the command that was typed as its next step."""
    command = " ".join(("ado", *_named(error)))
    return usage(_message(error, command), f"see {command} --help")


def _named(error: CycloptsError) -> tuple[str, ...]:
    return tuple(name for name in error.command_chain or () if not name.startswith("-"))


def _message(error: CycloptsError, command: str) -> str:
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        return _too_many(error, error.unused_tokens[0], command)
    if isinstance(error, UnknownCommandError) and error.unused_tokens:
        return _no_command(error, error.unused_tokens[0], command)
    if isinstance(error, UnknownOptionError):
        word = error.token.keyword or error.token.value
        known = [name for one in error.argument_collection for name in one.names if name.startswith("-")]
        return f"{command} has no option {word.partition('=')[0]}{nearest(word.partition('=')[0], known, 0.7)}"
    if isinstance(error, CoercionError) and error.token is not None and (kind := _kind(error.target_type)):
        name = error.token.keyword or (error.argument.name if error.argument else "the argument")
        return f"{name} {error.token.value} is not {kind}"
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        option = error.keyword
        valueless = f"{option} needs a value; one that begins with a dash follows an =: {option}=-x"
        return valueless if option else f"{command} needs {error.argument.name}"
    return " ".join(str(error).split())


def _kind(type_hint: Any) -> str:
    """Return the kind of number that an option takes, with the words it takes instead; empty for other options."""
    parts = [part for part in get_args(type_hint) or (type_hint,) if part is not type(None)]
    words = [f"{value}" for part in parts if part not in _KINDS for value in get_args(part)]
    number = next((_KINDS[part] for part in parts if part in _KINDS), "")
    return " or ".join([number, *words]) if number else ""


def _no_command(error: CycloptsError, word: str, command: str) -> str:
    if word.startswith("-"):
        return f"{command} has no option {word}; the options of a command stand after its name"
    meant = f"; did you mean {_HOMES[word]}?" if word in _HOMES else nearest(word, _subcommands(error))
    return f"{command} has no command {word!r}{meant}"


def _too_many(error: CycloptsError, word: str, command: str) -> str:
    commands = _subcommands(error)
    if "show" in commands and re.fullmatch(r"(task-)?[0-9]+", word):
        return f"{command} has no command {word!r}; did you mean {command} show {word}?"
    if commands:
        return f"{command} has no command {word!r}{nearest(word, commands)}; it has {', '.join(commands)}"
    return f"{command} takes no further argument {word!r}"


def _subcommands(error: CycloptsError) -> list[str]:
    app = error.app[-1] if isinstance(error.app, list | tuple) else error.app
    return [name for name in app if not name.startswith("-") and app[name].show] if app is not None else []
