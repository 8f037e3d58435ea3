"""Budgets that are refused: without an amount, or with a limit that the agent's reports would never show."""

import json

import msgspec
import pytest

from app.procedures.checks.budgets import check_budget
from app.rpc.errors import ProcedureError
from app.shapes.records import Budget


@pytest.mark.parametrize(
    ("agent", "budget", "says"),
    [
        ("shell", {"turns": 3}, "shell reports no usage"),
        ("codex", {"costUsd": 1}, "codex does not fully report costUsd"),
        ("gemini-cli", {"costUsd": 1, "tokens": 1}, "gemini-cli does not fully report costUsd"),
        ("other", {"tokens": 1}, "other does not fully report tokens"),
        ("opencode", {"tokens": 1}, "opencode does not fully report tokens"),
        ("codex", {}, "it has no limit"),
        ("codex", {"onBudget": "fail"}, "it has no limit"),
    ],
)
def test_a_limit_that_the_agents_reports_would_never_show_is_refused(agent, budget, says):
    with pytest.raises(ProcedureError, match=says) as refused:
        check_budget(agent, msgspec.convert(budget, Budget))
    assert (refused.value.code, refused.value.reason) == ("BAD_REQUEST", "invalid_input")


def test_an_agent_may_be_limited_by_what_it_reports():
    check_budget("claude-code", Budget(cost_usd=0.5, tokens=7, turns=1))
    check_budget("opencode", Budget(cost_usd=0.5, turns=1))
    check_budget("any", Budget(turns=1))
    check_budget("shell", None)


@pytest.mark.parametrize("name", ["costUsd", "tokens", "turns"])
@pytest.mark.parametrize("amount", [0, -1, 1e300, "1", True, [], 10**40])
def test_a_limit_is_an_amount_above_nothing(name, amount):
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(json.dumps({name: amount}), type=Budget)
