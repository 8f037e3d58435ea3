"""``ado completion``: scripts for shells that ask ``ado complete`` for what may come next."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from cyclopts import App

from cli import exits
from cli.output import write_lines

_SCRIPTS = {
    "bash": """\
_ado() {
    local IFS=$'\\n'
    COMPREPLY=($(ado complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _ado ado
""",
    "zsh": """\
#compdef ado
_ado() {
    local -a found
    found=("${(@f)$(ado complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    compadd -- $found
}
compdef _ado ado
""",
    "fish": """\
complete -c ado -f -a '(ado complete -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'
""",
}
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@/-]*")
"""A name that a shell takes as it is: a completion lands on the command line unquoted."""
Live = Callable[[str], list[str]]
"""Returns the ids of what a parameter names: ``task`` or ``worker``."""


def completion(shell: Literal["bash", "zsh", "fish"] | None = None, /) -> int:
    """Print a completion script; eval it in the shell's start-up file.

    Parameters
    ----------
    shell
        bash, zsh or fish; the one in SHELL otherwise.
    """
    name = shell or Path(os.environ.get("SHELL", "bash")).name
    print(_SCRIPTS.get(name, _SCRIPTS["bash"]), end="")
    return exits.SUCCESS


def complete(*words: str) -> int:
    """Print what may come next on a command line, one a line.

    Parameters
    ----------
    words
        The words so far; the last one is being written.
    """
    from cli.app import build

    write_lines(candidates(build(), list(words) or [""], _live))
    return exits.SUCCESS


def candidates(app: App, words: Sequence[str], live: Live) -> list[str]:
    """Return what the last word may become. Pure but for ``live``."""
    *before, word = words
    place, positional = app, 0
    for text in before:
        if text in place and not text.startswith("-"):
            place = place[text]
        elif not text.startswith("-"):
            positional += 1
    arguments = [argument for argument in _arguments(place) if argument.parameter.show is not False]
    if before and before[-1].startswith("-"):
        named = next((argument for argument in arguments if before[-1] in argument.names), None)
        choices = list(named.get_choices() or ()) if named else []
        if choices:
            return _matching(choices, word)
    if word.startswith("-"):
        return _matching(sorted(name for argument in arguments for name in argument.names if name[0] == "-"), word)
    commands = [name for name in place if not name.startswith("-") and place[name].show]
    if commands:
        return _matching(sorted(commands), word)
    names = [argument.field_info.name for argument in arguments if not argument.names[0].startswith(("-", "*"))]
    wanted = names[min(positional, len(names) - 1)] if names else ""
    return _matching(live(wanted), word) if wanted in ("task", "worker") else []


def _arguments(place: App) -> list[Any]:
    return list(place.assemble_argument_collection()) if place.default_command else []


def _matching(names: Sequence[str], word: str) -> list[str]:
    return [name for name in names if name.startswith(word)]


def _live(kind: str) -> list[str]:
    """Ask the server, shortly: who completes does not wait."""
    from app.rpc.client import CallError, Unreachable
    from cli.connection import Options, choose, http
    from cli.errors import CliError

    try:
        client = http(choose(Options()), timeout=1.0)
        if kind == "task":
            found = [task["taskId"] for task in client.query("tasks.list", {"limit": 50})["items"]]
        else:
            found = [worker["workerId"] for worker in client.query("workers.list", {})["items"]]
    except (CliError, CallError, Unreachable):
        return []
    return [name for name in found if _PLAIN.fullmatch(name)]
