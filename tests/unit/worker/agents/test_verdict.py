"""How a run of an AI agent is judged by what it said and did."""

import pytest

from worker.agents import events
from worker.agents.verdict import Verdict
from worker.processes.process import ProcessEnd


def ended(found, *, code=0, **values):
    verdict = Verdict(**values)
    verdict.see(found)
    verdict.end(True, "done")
    return verdict.outcome(ProcessEnd(exit_code=code))


TEXT = events.text("done", streamed=False)
TOOL = events.tool_start("1", "Bash", "bash", "make")


@pytest.mark.parametrize(
    ("found", "needs_evidence", "outcome"),
    [
        ([], False, "succeeded"),  # the agent's own word of success, and nothing against it
        ([], True, "failed"),
        ([TEXT], True, "succeeded"),
        ([TOOL], True, "succeeded"),
        ([events.usage({"inputTokens": 5, "outputTokens": 0})], True, "succeeded"),
        ([TEXT, events.usage({"inputTokens": 0, "outputTokens": 0})], False, "failed"),
        ([TOOL, events.usage({"inputTokens": 0, "outputTokens": 0})], True, "succeeded"),
        ([TEXT, events.usage({"costUsd": 0.1})], True, "succeeded"),
    ],
)
def test_success_needs_text_tools_or_tokens(found, needs_evidence, outcome):
    judged = ended(found, needs_evidence=needs_evidence)
    assert judged.outcome == outcome
    assert judged.reason == (None if outcome == "succeeded" else "no_result")


def test_silence_after_a_rate_limit_is_reported_as_such():
    verdict = Verdict()
    assert verdict.stalled(60).reason == "timed_out"
    verdict.fail("Too many requests", 429)
    outcome = verdict.stalled(60)
    assert outcome.reason == "rate_limited"
    assert "60 seconds" in outcome.message
    verdict.go_on()
    assert verdict.stalled(60).reason == "timed_out"


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, "auth"),
        (403, "auth"),
        (429, "rate_limited"),
        (529, "rate_limited"),
        (500, "agent_error"),
        (None, "agent_error"),
    ],
)
def test_the_status_of_the_models_service_gives_the_reason_of_a_failure(status, reason):
    verdict = Verdict()
    verdict.fail("refused", status)
    verdict.end(False)
    assert verdict.outcome(ProcessEnd(exit_code=1)).reason == reason
    assert verdict.stalled(60).reason == ("rate_limited" if reason == "rate_limited" else "timed_out")
