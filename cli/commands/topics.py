"""``ado help``."""

from __future__ import annotations

import sys
from importlib import resources

from cli.errors import nearest, usage
from cli.exits import TABLE

_TEXTS = ("agents", "configuration", "environment", "pause", "project-file", "repository", "settings", "stdin")
TOPICS = ("exit-codes", *_TEXTS)


def topic(name: str = "", /) -> int:
    """Explain one of: agents, configuration, environment, exit-codes, pause, project-file, repository, settings, stdin.

    Parameters
    ----------
    name
        The topic.
    """
    known = ", ".join(sorted(TOPICS))
    if name and name not in TOPICS:
        raise usage(
            f"there is no topic {name!r}{nearest(name, list(TOPICS))}", f"topics: {known}; commands: ado --help"
        )
    sys.stdout.write(_text(name) if name else f"topics: {known}\ncommands: ado --help\n")
    return 0


def _text(name: str) -> str:
    if name not in _TEXTS:
        return TABLE
    return resources.files("cli").joinpath("topics", f"{name}.txt").read_text("utf-8")
