"""How a question is shown, and the command that answers it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cli.render.visible import one_line


def answer_command(question: Mapping[str, Any]) -> str:
    """Return the command with which a person answers a question."""
    name, choices = question["questionId"], [option["id"] for option in question["options"]]
    if choices == ["allow", "deny"]:
        return f"ado approve {name}, or ado deny {name}"
    return f"ado answer {name} {'|'.join(choices) or 'TEXT'}"


def asks(question: Mapping[str, Any]) -> str:
    """Return a line that says what a job asks, and how it is answered."""
    return f"job {question['job']} asks: {one_line(question['text'])} (next: {answer_command(question)})"
