"""What a command line got wrong, as the parser of options reports it, in the words of every other error."""

from __future__ import annotations

import difflib

from cyclopts import CycloptsError, MissingArgumentError, UnknownCommandError, UnusedCliTokensError

from cli.errors import CliError, usage


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
        word = error.unused_tokens[0]
        return f"{command} has no command {word!r}{nearest(word, _subcommands(error))}"
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        return f"{command} needs {error.argument.name}"
    return " ".join(str(error).split())


def _too_many(error: CycloptsError, word: str, command: str) -> str:
    commands = _subcommands(error)
    if commands:
        return f"{command} has no command {word!r}{nearest(word, commands)}; it has {', '.join(commands)}"
    return f"{command} takes no further argument {word!r}"


def _subcommands(error: CycloptsError) -> list[str]:
    app = error.app[-1] if isinstance(error.app, list | tuple) else error.app
    return [name for name in app if not name.startswith("-") and app[name].show] if app is not None else []


def nearest(word: str, known: list[str]) -> str:
    """Return ``; did you mean X?`` where something known is close to what was written, else nothing."""
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {found[0]}?" if found else ""
