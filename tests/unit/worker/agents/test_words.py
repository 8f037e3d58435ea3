"""Words for an agent besides its prompt, and the run of its next turn."""

import json
from pathlib import Path

import pytest

from worker.agents import AGENTS
from worker.agents.base import Run
from worker.agents.words import next_turn, with_words

RUN = Run("the task", Path("/job"), Path("/home"))


def reader(agent, session):
    made = AGENTS[agent].reader(RUN)
    made.session, made.reported = session, {"costUsd": 1.0}
    return made


def test_words_follow_the_prompt_of_an_ai_agent():
    assert with_words(AGENTS["codex"], "the task", ["one", "two"]) == "the task\n\none\n\ntwo"
    assert with_words(AGENTS["codex"], "", ["one"]) == "one"


def test_words_are_steps_of_a_script():
    steps = with_words(AGENTS["scripted"], '{"say": "x"}', ['a "b"\nc']).splitlines()
    assert list(map(json.loads, steps)) == [{"say": "x"}, {"say": 'heard: a "b"\nc'}]


@pytest.mark.parametrize("agent", ["claude-code", "codex", "gemini-cli", "opencode"])
def test_the_next_turn_resumes_the_session_with_the_words_alone(agent):
    run = next_turn(AGENTS[agent], RUN, ["use tabs"], reader(agent, "s-1"))
    assert (run.prompt, run.session, run.reported, run.has_begun) == ("use tabs", "s-1", {"costUsd": 1.0}, True)
    assert run.anew == "the task\n\nuse tabs"
    assert next_turn(AGENTS[agent], run, ["no"], reader(agent, "s-1")).anew == "the task\n\nuse tabs\n\nno"


@pytest.mark.parametrize("session", [None, "--option", "../x"])
def test_without_a_session_the_next_turn_has_the_task_too(session):
    run = next_turn(AGENTS["codex"], RUN, ["use tabs"], reader("codex", session))
    assert (run.prompt, run.session) == ("the task\n\nuse tabs", None)


def test_a_later_turn_of_gemini_writes_nothing_where_the_agent_may_have_put_a_link(tmp_path, monkeypatch):
    """The worker would follow the link, with its own rights."""
    program = tmp_path / "gemini"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    target, home = tmp_path / "target", tmp_path / "home"
    (home / ".gemini").mkdir(parents=True)
    for name in ("settings.json", "GEMINI.md"):
        (home / ".gemini" / name).symlink_to(target)
    run = Run("the task", tmp_path, home, env={"GEMINI_API_KEY": "x"})
    again = next_turn(AGENTS["gemini-cli"], run, ["use tabs"], reader("gemini-cli", "s-1"))
    assert "s-1" in AGENTS["gemini-cli"].launch(again).argv
    assert not target.exists()
    AGENTS["gemini-cli"].launch(run)
    assert target.exists()  # a first turn writes: HOME is new then
