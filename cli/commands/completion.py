"""``ado completion``: scripts for shells that ask ``ado complete`` for what may come next.

A candidate may hold anything that a label of another user holds. No script lets the shell evaluate one: bash gets it
quoted, zsh and fish quote by themselves.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from cli.output import write_lines

_SCRIPTS = {
    "bash": """\
_ado() {
    local line quoted program=ado
    [[ $1 == */* && -x $1 ]] && program=$1
    COMPREPLY=()
    while IFS= read -r line; do
        printf -v quoted %q "$line"
        COMPREPLY+=("$quoted")
    done < <("$program" complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null </dev/null)
}
complete -o default -F _ado ado
""",
    "zsh": """\
#compdef ado
_ado() {
    local program=${(Q)words[1]}
    local -a found
    [[ $program == */* && -x $program ]] || program=ado
    found=("${(@f)$("$program" complete -- "${(@)words[2,CURRENT]}" 2>/dev/null </dev/null)}")
    compadd -- $found
}
compdef _ado ado
""",
    "fish": """\
complete -c ado -f -a '(ado complete -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null </dev/null)'
""",
}


def completion(shell: Literal["bash", "zsh", "fish"] | None = None, /) -> None:
    """Print a completion script; eval it in the shell's start-up file.

    Parameters
    ----------
    shell
        bash, zsh or fish; the one in SHELL otherwise.
    """
    name = shell or Path(os.environ.get("SHELL", "bash")).name
    print(_SCRIPTS.get(name, _SCRIPTS["bash"]), end="")


def complete(*words: str) -> None:
    """Print what may come next on a command line, one a line.

    Parameters
    ----------
    words
        The words so far; the last one is being written.
    """
    from cli.app import build
    from cli.commands.topics import TOPICS
    from cli.completion_candidates import as_typed, candidates
    from cli.remote.completion_values import values

    app = build()

    def live(kind: str, typed: Mapping[str, str]) -> Sequence[str]:
        return sorted(TOPICS) if kind == "topic" else values(kind, typed)

    write_lines(as_typed(words, lambda joined: candidates(app, joined, live)))
