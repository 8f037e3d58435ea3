"""What workers and spawners offer together, and what keeps a spawner from starting workers."""

from datetime import UTC, datetime

import pytest

from cli.errors import CliError
from cli.remote.fleet import check_offered, default_agent, offered, silence, spawner_problem


def worker(*capabilities, state="idle", labels=()):
    return {"state": state, "capabilities": list(capabilities), "labels": dict(labels)}


def spawner(*capabilities, state="running", **values):
    beat = "2026-11-26T11:57:00Z"
    return {"state": state, "capabilities": list(capabilities), "lastHeartbeatAt": beat, **values}


def status(*workers, spawners=()):
    return {"workers": list(workers), "spawners": list(spawners)}


def test_only_live_workers_offer_capabilities():
    found = status(worker("a"), worker("b", state="dead"), spawners=[spawner("c"), spawner("d", state="silent")])
    assert offered(found) == {"a", "c"}
    assert offered({"workers": [worker("a")]}) == {"a"}  # a server of before


@pytest.mark.parametrize("found", [status(), status(worker("x")), status(spawners=[spawner("x", "y")])])
def test_an_offered_agent_and_one_of_a_spawner_pass(found):
    check_offered("x", found)


def test_an_agent_whose_program_is_where_workers_start_passes():
    check_offered("codex", status(worker("shell")), installed=["codex"])


def test_an_agent_is_not_suggested_for_its_own_name():
    with pytest.raises(CliError) as caught:
        check_offered("codex", status(worker("shell")))
    assert "did you mean" not in str(caught.value)


def test_an_agent_without_workers_is_refused_with_the_nearest():
    with pytest.raises(CliError) as caught:
        check_offered("claud", status(worker("shell"), spawners=[spawner("claude-code")]))
    assert "offered: claude-code, shell; did you mean claude-code?" in caught.value.message
    with pytest.raises(CliError, match=r"offered: shell; did you mean claude-code\?$"):  # known, and offered by nobody
        check_offered("cluade-code", status(worker("shell", "network:none", "secret:KEY")))
    assert "--wait-for-agent" in caught.value.next_step
    assert caught.value.exit_code == 127


def test_a_silent_spawner_and_a_problem_are_troubles():
    now = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
    assert spawner_problem(spawner(), now) == ""
    assert spawner_problem(spawner(problem="no cluster"), now) == "no cluster"
    assert "3 min ago" in spawner_problem(spawner(state="silent", problem="no cluster"), now)


def test_an_agent_that_is_known_but_not_offered_is_not_suggested_again():
    with pytest.raises(CliError) as caught:
        check_offered("claude-code", status(worker("shell", "network:none", "input:stdin")))
    assert caught.value.message == "no worker offers the agent claude-code; offered: shell"


def test_other_capabilities_are_not_listed_as_agents():
    with pytest.raises(CliError) as caught:
        default_agent(status(worker("shell", "network:none", "input:stdin"), worker("codex", state="dead")))
    assert caught.value.message == "no AI agent is offered; offered: shell"


def test_the_default_agent_is_one_that_a_live_worker_or_a_spawner_offers():
    gone = worker("claude-code", "mine", state="stopped", labels={"agent/mine": "1"})
    assert default_agent(status(gone, worker("codex"))) == "codex"
    assert default_agent(status(gone, spawners=[spawner("claude-code", state="silent"), spawner("codex")])) == "codex"
    assert default_agent(status(gone), ["opencode"]) == "opencode"
    assert default_agent(status(gone, worker("mine", labels={"agent/mine": "1"}))) == "mine"


def test_a_running_job_reports_a_silent_worker():
    running = {"jobs": [{"job": 0, "status": "running", "workerId": "w"}]}
    now, last = datetime(2026, 11, 26, 12, 0, tzinfo=UTC), "2026-11-26T11:57:00Z"
    alive = {"workerId": "w", "state": "idle", "lastHeartbeatAt": last}
    late, other = {**alive, "state": "suspect"}, {**alive, "workerId": "x", "state": "dead"}
    assert silence(running, {"workers": [alive, other]}, now) == ""
    assert ", but w was heard of 3 min ago; a job whose worker" in silence(running, {"workers": [late]}, now)
