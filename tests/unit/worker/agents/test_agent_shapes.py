"""The published shapes of agent events are those that the adapters make."""

import json
from pathlib import Path

import msgspec
import pytest

from app.procedures.append import _FROM_SERVER
from app.shapes.log_events import AgentSaid
from worker.agents import AGENTS, events
from worker.agents.base import Run

NAMES = {"claude": "claude-code", "gemini": "gemini-cli", "codex": "codex"}
TRANSCRIPTS = sorted(path for name in NAMES for path in Path(__file__).with_name("transcripts").glob(f"{name}-*.jsonl"))
EVERY_KIND = [
    events.session("s", "m"),
    events.text_delta("t"),
    events.text("t", streamed=True),
    events.tool_start("1", "Bash", "bash", "ls"),
    events.tool_end("1", "Edit", "edit", "a.py", ok=True, exit_code=0, added=1, removed=2, output="o"),
    events.permission("Bash", "denied", "no"),
    events.usage(events.counted(inputTokens=1, outputTokens=2, cacheReadTokens=3, cacheWriteTokens=4, costUsd=0.5)),
    events.retry(1, 5, "again", status=529),
    events.error("broken", status=500),
    events.result(True, "done"),
    {**events.other(), "raw": "{}", "rawContinues": True},
]


def as_published(event):
    """Return an event as far as its published shape has its members. Raises ValidationError for another shape."""
    return msgspec.to_builtins(msgspec.convert(event, AgentSaid))


def stored(event):
    """Return what of an adapter's event stands in the log, besides what the server writes itself."""
    return {name: value for name, value in event.items() if name != "fragment" and name not in _FROM_SERVER}


@pytest.mark.parametrize("event", EVERY_KIND, ids=lambda event: event["event"])
def test_every_member_of_every_kind_is_published(event):
    assert as_published(event) == stored(event)


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_recorded_events_have_the_published_shapes(path):
    lines = [json.loads(line) for line in path.read_text().splitlines()][1:]
    reader = AGENTS[NAMES[path.stem.split("-")[0]]].reader(Run("hello", Path("/job"), Path("/home")))
    found = [event for line in lines for event in reader.feed(line)]
    assert [as_published(event) for event in found] == [stored(event) for event in found]
