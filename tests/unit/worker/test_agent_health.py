"""What the end of an attempt says of its agent: it works, it fails at once, or nothing."""

import pytest

from worker.agent_health import agent_health
from worker.agents import AGENTS, events
from worker.agents.base import AgentReader, Run
from worker.agents.verdict import Outcome

TOOL = events.tool_start("1", "Bash", "bash", "make")
TEXT = events.text("API Error", streamed=False)
NO_TOKENS = events.usage({"inputTokens": 0, "outputTokens": 0})
AUTH = Outcome("failed", 1, "auth")
ERROR = Outcome("failed", 1, "agent_error")


@pytest.fixture
def judge(tmp_path):
    def judged(outcome, *said, agent="claude-code", worked_before=False, **job):
        reader = AgentReader(Run("p", tmp_path, tmp_path))
        reader._verdict.see(said)
        return agent_health(AGENTS[agent], job, outcome, reader, worked_before=worked_before)

    return judged


def test_refused_credentials_and_an_error_before_anything_was_done_speak_against_the_agent(judge):
    assert judge(AUTH) == judge(ERROR) == judge(ERROR, TEXT, NO_TOKENS) == "ill"
    assert judge(AUTH, TOOL) == "ill"


def test_an_agent_that_has_done_something_works(judge):
    assert judge(Outcome("succeeded", 0)) == "well"
    assert judge(ERROR, TOOL) == judge(ERROR, TEXT) == judge(ERROR, worked_before=True) == "well"
    assert judge(Outcome("cancelled"), TOOL) == judge(Outcome("released", None, "paused"), TEXT) == "well"


def test_other_ends_before_anything_was_done_say_nothing(judge):
    for reason in ("rate_limited", "no_result", "timed_out", "setup_failed"):
        assert judge(Outcome("failed", 1, reason)) == "unknown"
    assert judge(Outcome("cancelled")) == "unknown"


def test_a_task_with_a_key_of_its_own_says_nothing_of_the_workers(judge):
    mine = {"ANTHROPIC_API_KEY": "mine"}
    assert judge(AUTH, env=mine) == judge(ERROR, env=mine) == judge(Outcome("succeeded", 0), env=mine) == "unknown"
    assert judge(AUTH, env={"OTHER": "x"}) == "ill"


def test_a_task_without_a_network_says_nothing_of_the_agent(judge):
    assert judge(ERROR, requires=["network:none"]) == "unknown"


def test_programs_are_no_agents_that_could_be_ill(judge):
    assert judge(ERROR, agent="shell") == judge(ERROR, agent="scripted") == "unknown"
