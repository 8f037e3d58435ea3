"""Which agents can run under which approval."""

import pytest

from app.core.approvals import APPROVALS, CAPABILITIES, approval_in, capability_of, why_impossible


def test_an_approval_is_a_capability_and_the_narrowest_of_several_counts():
    assert [approval_in([capability_of(approval)]) for approval in APPROVALS] == list(APPROVALS)
    assert approval_in(CAPABILITIES) == "none"
    assert approval_in(["approve:all", "approve:edits", "shell"]) == "edits"
    assert approval_in(["shell", "approve:other"]) is None


@pytest.mark.parametrize("agent", ["claude-code", "opencode", "an-acp-agent"])
def test_agents_that_can_be_asked_run_under_every_approval(agent):
    assert [why_impossible(agent, approval, stdin=False) for approval in APPROVALS] == [None] * 4
    assert "cannot read answers" in why_impossible(agent, "ask", stdin=True)
    assert why_impossible(agent, "edits", stdin=True) is None


@pytest.mark.parametrize("agent", ["codex", "gemini-cli"])
def test_agents_that_cannot_ask_say_what_they_can(agent):
    assert why_impossible(agent, "ask", stdin=False).endswith("it can run with edits, all or none")
    assert [why_impossible(agent, approval, stdin=False) for approval in ("edits", "all", "none")] == [None] * 3


@pytest.mark.parametrize("agent", ["shell", "scripted"])
def test_commands_have_no_approval(agent):
    assert all(why_impossible(agent, approval, stdin=False) for approval in APPROVALS)
