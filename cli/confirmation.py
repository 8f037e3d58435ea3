"""Asking before something that cannot be taken back."""

from __future__ import annotations

import sys

from cli.errors import usage
from cli.output import talk
from cli.render.terminal import is_terminal


def agreed(question: str) -> bool:
    """Ask on the terminal; return whether the answer is yes. Raises CliError where nobody can be asked."""
    if not is_terminal(sys.stdin):
        raise usage("this needs a yes and there is no terminal to ask on", "add --yes")
    talk(f"ado: {question} [y/N]")
    return sys.stdin.readline().strip().lower() in ("y", "yes")
