"""The normalised events of every agent: one function for each, so that all agents' events have the same members.

The events are ``session text_delta text tool_start tool_end permission usage retry error result``, and ``other`` for
any other line. The worker keeps the agent's own line beside them (see ``worker.agents.stream``). Long members are cut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import chain
from typing import Any

from worker.agents.verdict import Event

_TEXT_CHARS = 100_000
_DETAIL_CHARS = 4_000


def _cut(text: Any, limit: int) -> str:
    whole = str(text)
    return whole if len(whole) <= limit else whole[:limit] + "…"


def _event(name: str, **members: Any) -> Event:
    return {"event": name, **{key: value for key, value in members.items() if value is not None}}


def session(session_id: str, model: str | None = None) -> Event:
    """A session begins, or is resumed."""
    return _event("session", sessionId=session_id, model=model)


def text_delta(text: str) -> Event:
    """The agent writes a piece of text."""
    return _event("text_delta", text=text)


def text(whole: str, *, streamed: bool) -> Event:
    """The agent has written a whole text; ``streamed`` says that its pieces came before."""
    return _event("text", text=_cut(whole, _TEXT_CHARS), streamed=streamed)


def tool_start(tool_id: str, tool: str, kind: str, title: str) -> Event:
    """A tool starts; ``kind`` is edit, bash, read, search, fetch or other; ``title`` is its path, command or aim."""
    return _event("tool_start", toolId=tool_id, tool=tool, kind=kind, title=_cut(title, _DETAIL_CHARS))


def tool_end(
    tool_id: str,
    tool: str,
    kind: str,
    title: str,
    *,
    ok: bool,
    exit_code: int | None = None,
    added: int | None = None,
    removed: int | None = None,
    output: str | None = None,
) -> Event:
    """A tool ends; ``added`` and ``removed`` count the lines of an edit."""
    return _event(
        "tool_end",
        toolId=tool_id,
        tool=tool,
        kind=kind,
        title=_cut(title, _DETAIL_CHARS),
        ok=ok,
        exitCode=exit_code,
        added=added,
        removed=removed,
        output=None if output is None else _cut(output, _DETAIL_CHARS),
    )


def permission(tool: str, decision: str, message: str = "") -> Event:
    """The agent was ``denied`` or ``allowed`` a tool."""
    return _event("permission", tool=tool, decision=decision, message=_cut(message, _DETAIL_CHARS))


def usage(numbers: Mapping[str, Any]) -> Event:
    """The run has used tokens, and dollars if the agent reports them."""
    return _event("usage", **numbers)


def retry(
    attempt: int, limit: int | None, message: str, *, status: int | None = None, delay: float | None = None
) -> Event:
    """The agent calls the model again after an error; ``delay`` says in how many seconds."""
    text = _cut(message, _DETAIL_CHARS)
    return _event("retry", attempt=attempt, limit=limit, message=text, status=status, delaySeconds=delay)


def error(message: str, *, status: int | None = None) -> Event:
    """An error occurred; the agent may go on."""
    return _event("error", message=_cut(message, _DETAIL_CHARS), status=status)


def result(ok: bool, message: str) -> Event:
    """The agent ends its turn; ``ok`` says whether it reports success."""
    return _event("result", ok=ok, message=_cut(message, _TEXT_CHARS))


def other(fragment: str | None = None) -> Event:
    """Any other line; ``fragment`` is its part of a longer text, which is masked as a whole."""
    return _event("other", fragment=fragment)


def counted(**numbers: float | None) -> dict[str, float]:
    """Return the members of usage that have a value: inputTokens, outputTokens, costUsd and so on."""
    return {name: value for name, value in numbers.items() if value is not None}


def total(*usages: Mapping[str, float]) -> dict[str, float]:
    """Return the sum of usages; a member that one of them lacks counts as 0 there."""
    return {name: sum(usage.get(name, 0) for usage in usages) for name in dict.fromkeys(chain(*usages))}


def line_counts(old: str, new: str) -> tuple[int, int]:
    """Return how many lines are added and removed when a text replaces another; moved lines count as neither.

    This takes linear time. difflib may take seconds for a few hundred lines, and this runs on the event loop.
    """
    before, after = Counter(old.splitlines()), Counter(new.splitlines())
    return (after - before).total(), (before - after).total()


def edit_counts(values: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many lines a tool's parameters add and remove: a whole file, or a replacement in one."""
    if "content" in values:
        return len(str(values["content"]).splitlines()), 0
    return line_counts(str(values.get("old_string", "")), str(values.get("new_string", "")))
