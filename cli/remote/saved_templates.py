"""Templates that a server keeps: which one is meant, and the task that it makes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from app.core.prompt_variables import VariablesWrong, fill
from app.rpc.client import HttpClient
from cli.errors import usage

_NAMED = re.compile(r"@([a-z0-9][a-z0-9._-]{0,62})", re.ASCII)
_MERGED = ("labels", "agentArgs")


def template_named(words: Sequence[str]) -> str | None:
    """Return the template that the words of a prompt name, as ``@nightly`` alone does."""
    match = _NAMED.fullmatch(words[0]) if len(words) == 1 else None
    return match[1] if match else None


def named(text: str) -> str:
    """Return the name of a template that is written as ``nightly`` or ``@nightly``."""
    return text.removeprefix("@")


def filled(client: HttpClient, name: str, variables: Mapping[str, str]) -> dict[str, Any]:
    """Return the input of tasks.create that a template gives with its variables filled in. Raises CliError."""
    task: dict[str, Any] = client.query("templates.get", {"name": name})["task"]
    try:
        return {"agent": "shell", **task, "prompt": fill(task["prompt"], variables)}
    except VariablesWrong as error:
        raise usage(f"@{name}: {error}", error.next_step) from None


def merged(saved: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a template's input with what the command line gives in place of the template's, the agents always."""
    saved = {name: value for name, value in saved.items() if name != "agents"}
    values = {name: value for name, value in given.items() if value and (name, value) not in _DEFAULTS}
    both = {name: {**saved.get(name, {}), **values[name]} for name in _MERGED if name in values}
    requires = [*saved.get("requires", []), *given.get("requires", [])]
    return {**saved, **values, **both, "requires": list(dict.fromkeys(requires))}


_DEFAULTS = (("workers", 1), ("onFailure", "continue"))
