"""Which credential of several an attempt uses, and in which order."""

import math

from worker.agents import AGENTS
from worker.agents.credentials import AgentCredentials, KnownRefusals

CLAUDE, CODEX = AGENTS["claude-code"].needs, AGENTS["codex"].needs
HELD = {"ANTHROPIC_API_KEY": "a", "ANTHROPIC_API_KEY_2": "b", "ANTHROPIC_AUTH_TOKEN_3": "c", "ANTHROPIC_API_KEY_5": "e"}


def test_they_are_counted_without_a_gap_and_given_without_their_number():
    found = AgentCredentials(CLAUDE, HELD, {})
    given = {"ANTHROPIC_API_KEY": "a", "ANTHROPIC_BASE_URL": "u"}
    seen = [(found.name, found.applied(given))]
    while found.refuse(math.inf) == 0:
        seen.append((found.name, found.applied(given)))
    assert seen == [
        ("ANTHROPIC_API_KEY", given),
        ("ANTHROPIC_API_KEY_2", {"ANTHROPIC_API_KEY": "b", "ANTHROPIC_BASE_URL": "u"}),
        ("ANTHROPIC_AUTH_TOKEN_3", {"ANTHROPIC_AUTH_TOKEN": "c", "ANTHROPIC_BASE_URL": "u"}),
    ]
    assert found.values({"ANTHROPIC_API_KEY": "x"}) == ["b", "c", "x"]


def test_the_one_that_is_free_first_is_used_again():
    found = AgentCredentials(CLAUDE, HELD, {})
    assert [found.refuse(300.0), found.refuse(math.inf)] == [0.0, 0.0]
    assert (found.have_another(299.0), found.have_another(300.0)) == (False, True)
    assert (found.refuse(200.0), found.name) == (200.0, "ANTHROPIC_AUTH_TOKEN_3")
    assert (found.refuse(400.0), found.name) == (300.0, "ANTHROPIC_API_KEY")


def test_all_refused_for_good_are_none():
    found = AgentCredentials(CODEX, {"OPENAI_API_KEY": "a", "OPENAI_API_KEY_2": "b"}, {})
    assert (found.are_several, found.have_another(0.0)) == (True, True)
    assert found.refuse(math.inf) == 0.0
    assert found.refuse(math.inf) == math.inf


def test_a_task_with_a_credential_of_its_own_uses_it_alone():
    assert not AgentCredentials(CLAUDE, HELD, {"ANTHROPIC_AUTH_TOKEN": "x"}).are_several
    assert AgentCredentials(CLAUDE, HELD, {"ANTHROPIC_BASE_URL": "x"}).are_several


def test_an_agent_without_credentials_has_one_way():
    found = AgentCredentials(None, HELD, {})
    assert (found.are_several, found.applied({"A": "b"}), found.refuse(math.inf)) == (False, {"A": "b"}, math.inf)


def test_an_attempt_begins_with_a_credential_that_no_earlier_one_was_refused():
    times = [1000.0]
    known = KnownRefusals(lambda: times[0])

    def begin(brought=None):
        return AgentCredentials(CLAUDE, HELD, brought or {}, known)

    def begun():
        return begin().name

    assert begin().refuse(math.inf) == 0.0
    assert begun() == "ANTHROPIC_API_KEY_2"
    assert begin().refuse(1300.0) == 0.0
    assert begun() == "ANTHROPIC_AUTH_TOKEN_3"
    assert begin({"ANTHROPIC_API_KEY": "x"}).refuse(math.inf) == math.inf  # the task's own says nothing of these
    assert AgentCredentials(AGENTS["opencode"].needs, HELD, {}, known).name == "ANTHROPIC_API_KEY"
    last = begin()
    assert (last.refuse(1400.0), last.name) == (1300.0, "ANTHROPIC_API_KEY_2")
    assert begun() == "ANTHROPIC_API_KEY"  # no other is free, and it may have been put right
    times[0] = 1300.0
    assert begun() == "ANTHROPIC_API_KEY_2"
    times[0] = 1600.0
    assert begun() == "ANTHROPIC_API_KEY"


def test_a_new_attempt_tries_all_again_when_all_were_invalid():
    known = KnownRefusals(lambda: 1000.0)
    for _ in range(2):
        found = AgentCredentials(CODEX, {"OPENAI_API_KEY": "a", "OPENAI_API_KEY_2": "b"}, {}, known)
        assert (found.name, found.refuse(math.inf), found.name) == ("OPENAI_API_KEY", 0.0, "OPENAI_API_KEY_2")
        assert found.refuse(math.inf) == math.inf
