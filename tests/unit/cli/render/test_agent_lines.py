"""What an AI agent thought and did, as a person reads it."""

import pytest

from cli.render.agent_lines import own_line
from cli.render.lines import Lines, Style


def agent(event, job=0, **members):
    return {"type": "agent", "job": job, "attempt": 1, "at": "T", "event": event, **members}


def written(style, *events):
    """Return what goes to stdout and stderr together, as on a terminal."""
    lines = Lines(style)
    return b"".join(data for event in events for _, data in lines.feed(event)).decode()


WORDS = [agent("text_delta", text="I will "), agent("text_delta", text="edit."), agent("text", text="x", streamed=True)]
EDIT = {"toolId": "1", "tool": "Edit", "kind": "edit", "title": "src/a.py"}
EDITED = agent("tool_end", **EDIT, ok=True, added=10, removed=2)
BASH = {"toolId": "2", "tool": "Bash", "kind": "bash", "title": "make test"}
RAN = agent("tool_end", **BASH, ok=True, exitCode=0)
END = {"type": "finished", "job": 0, "attempt": 1, "outcome": "succeeded", "at": "T"}
TERMINAL, PIPE, MANY = Style(False, terminals=frozenset({1, 2})), Style(False), Style(True)


def test_text_is_streamed_and_a_tool_is_one_line():
    events = [*WORDS, agent("tool_start", **EDIT), EDITED, agent("tool_start", **BASH), RAN]
    assert (
        written(TERMINAL, *events) == "I will edit.\n⚙ edit src/a.py +10 \N{MINUS SIGN}2\n⚙ bash make test → exit 0\n"
    )
    assert written(PIPE, *events) == "I will edit.\n⚙ edit src/a.py +10 \N{MINUS SIGN}2\n⚙ bash make test → exit 0\n"


def test_a_running_tool_is_shown_on_a_terminal():
    assert written(TERMINAL, agent("tool_start", **BASH)) == "⚙ bash make test"
    assert written(PIPE, agent("tool_start", **BASH)) == ""


def test_text_during_a_tool_does_not_break_its_line():
    events = [agent("tool_start", **BASH), agent("text_delta", text="meanwhile"), RAN]
    assert written(TERMINAL, *events) == "⚙ bash make test\nmeanwhile\n⚙ bash make test → exit 0\n"


def test_only_text_of_the_agent_goes_to_stdout():
    pieces = list(Lines(PIPE).feed(EDITED)) + list(Lines(PIPE).feed(WORDS[0]))
    assert [fd for fd, _ in pieces] == [2, 2, 1]


def test_lines_of_several_jobs_are_whole_and_prefixed():
    events = [agent("text_delta", job=1, text="other\nha"), *WORDS, agent("tool_start", **EDIT), EDITED, RAN]
    assert written(MANY, *events, END) == (
        "[1] other\n[0] I will edit.\n[0] ⚙ edit src/a.py +10 \N{MINUS SIGN}2\n[0] ⚙ bash make test → exit 0\n"
    )


def test_an_unfinished_line_ends_with_the_attempt():
    assert written(MANY, agent("text_delta", text="half"), END) == "[0] half\n"
    assert written(PIPE, agent("text_delta", text="half"), END) == "half\n"


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (agent("retry", attempt=2, limit=10, message="limit"), "↻ the model is asked again (2 of 10): limit\n"),
        (agent("permission", tool="Write", decision="denied", message="no"), "✗ not allowed: Write: no\n"),
        (agent("permission", tool="Write", decision="allowed"), ""),
        (agent("error", message="it broke\nat line 1"), "✗ it broke\n"),
        (agent("result", ok=False, message="no more"), "✗ the agent failed: no more\n"),
        (agent("result", ok=True, message="the answer again"), ""),
        (agent("usage", inputTokens=1), ""),
        (agent("other", raw="{}"), ""),
        (agent("tool_end", toolId="9", tool="Task", kind="other", title="", ok=False, output="boom\nx"),
         "⚙ Task → failed: boom\n"),
        (agent("tool_end", **{**BASH, "title": "make\nmore"}, ok=True, exitCode=2), "⚙ bash make … → exit 2\n"),
    ],
)  # fmt: skip
def test_other_events_are_shown_as_one_line(event, line):
    assert written(PIPE, event) == line


def test_text_of_an_agent_cannot_control_the_terminal():
    text = written(TERMINAL, agent("text_delta", text="\x1b]0;title\x07"), agent("error", message="\x1b[2J"))
    assert "\x1b]" not in text
    assert "\x1b[2J" not in text


def test_raw_lines_are_shown_unchanged():
    first = agent("text", text="x", raw='{"a":', rawContinues=True)
    rest = agent("other", raw='"b"}')
    assert own_line(first) + own_line(rest) == '{"a":"b"}\n'
    assert written(Style(False, own=True), first, rest, agent("text_delta", text="no line of its own")) == '{"a":"b"}\n'
    assert written(Style(True, own=True), first, rest) == '[0] {"a":"b"}\n'
