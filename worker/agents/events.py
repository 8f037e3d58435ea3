"""The normalised events of every agent: one function each, so that their members are the same whoever speaks.

``session text_delta text tool_start tool_end permission usage retry error result``, and ``other`` for a line that says
none of these; the worker keeps the agent's own line beside them
(see ``worker.agents.stream``). Long members are cut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from worker.agents.base import Event

_TEXT_CHARS = 100_000
_DETAIL_CHARS = 4_000


def _cut(text: Any, limit: int) -> str:
    whole = str(text)
    return whole if len(whole) <= limit else whole[:limit] + "…"


def _event(name: str, **members: Any) -> Event:
    return {"event": name, **{key: value for key, value in members.items() if value is not None}}


def session(session_id: str, model: str | None = None) -> Event:
    """The session has begun, or goes on."""
    return _event("session", sessionId=session_id, model=model)


def text_delta(text: str) -> Event:
    """The agent goes on writing."""
    return _event("text_delta", text=text)


def text(whole: str, *, streamed: bool) -> Event:
    """The agent has written something; ``streamed``: it came in deltas before."""
    return _event("text", text=_cut(whole, _TEXT_CHARS), streamed=streamed)


def tool_start(tool_id: str, tool: str, kind: str, title: str) -> Event:
    """A tool runs: ``kind`` is edit, bash, read, search, fetch or other; ``title`` its path, command or aim."""
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
    """A tool has ended; ``added`` and ``removed`` count lines of an edit."""
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
    """What the run has used: tokens, and dollars where the agent says them."""
    return _event("usage", **numbers)


def retry(attempt: int, limit: int | None, message: str, *, status: int | None = None) -> Event:
    """The agent asks the model again."""
    return _event("retry", attempt=attempt, limit=limit, message=_cut(message, _DETAIL_CHARS), status=status)


def error(message: str, *, status: int | None = None) -> Event:
    """Something went wrong; the agent may go on."""
    return _event("error", message=_cut(message, _DETAIL_CHARS), status=status)


def result(ok: bool, message: str) -> Event:
    """The agent's last word."""
    return _event("result", ok=ok, message=_cut(message, _TEXT_CHARS))


def other(fragment: str | None = None) -> Event:
    """A line that says nothing of the above; ``fragment`` is the part it brings of something longer, for masking."""
    return _event("other", fragment=fragment)


def counted(**numbers: float | None) -> dict[str, float]:
    """Return the members of usage that are known: inputTokens, outputTokens, costUsd and so on."""
    return {name: value for name, value in numbers.items() if value is not None}


def beyond(reported: Mapping[str, float], before: Mapping[str, Any]) -> dict[str, float]:
    """Return what a sum says of this run alone, ``before`` being the sum that the resumed session had reported.

    A sum that is smaller than the one before did not go on from it and stands for itself.
    """
    return {
        name: value - before.get(name, 0) if value >= before.get(name, 0) else value for name, value in reported.items()
    }


def line_counts(old: str, new: str) -> tuple[int, int]:
    """Return how many lines an edit that replaces one text by another adds and removes; moved ones count as neither.

    It takes time in proportion to the texts: a proper comparison of a few hundred lines may take seconds.
    """
    before, after = Counter(old.splitlines()), Counter(new.splitlines())
    return (after - before).total(), (before - after).total()
