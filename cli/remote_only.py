"""Options of ``ado run`` that mean nothing where no server takes part, and are refused there, not left out silently."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from cli.errors import usage


def _option(name: str, value: Any) -> str:
    return ("no-" if value is False else "") + name.replace("_", "-")


def refuse_remote_only(task: Mapping[str, Any], *groups: Any) -> None:
    """Raise CliError for options that need --remote: those of a task, and the members of dataclasses of options."""
    given = [name for name, value in task.items() if value]
    for group in groups:
        known = fields(group)
        given += [
            _option(one.name, getattr(group, one.name)) for one in known if getattr(group, one.name) != one.default
        ]
    if given:
        names = [f"--{name}" for name in given]
        listed = f"{', '.join(names[:-1])} and {names[-1]} need" if len(names) > 1 else f"{names[0]} needs"
        raise usage(f"{listed} --remote", "add --remote")
