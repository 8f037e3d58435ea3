"""The real agents are refused by their model's service, and go on: with another credential, or once a limit is over."""

import json
import subprocess

import pytest
from support.models import command
from support.program import until

pytestmark = pytest.mark.timeout(400)


def events(plane, task, *types):
    rows = plane.sql(
        "select type, attempt, body from ado.events where task_id = %s and type = any(%s) order by seq",
        int(task.removeprefix("task-")), list(types),
    )  # fmt: skip
    return [{"type": kind, "attempt": attempt, **body} for kind, attempt, body in rows]


@pytest.fixture
def repository(tmp_path):
    for more in (["init", "-q", "-b", "main"], ["commit", "-q", "--allow-empty", "-m", "Begin"]):
        named = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
        subprocess.run(["git", *named, *more], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


BREAKER = "2"
VARIABLES = {"claude-code": "ANTHROPIC_API_KEY", "codex": "OPENAI_API_KEY"}


def begin(plane, models, agent, repository, **keys):
    """Run a task on a worker of its own, until it is handed back for a limit; return it, its prompt and the events."""
    name, env = f"limited-{agent}", {**keys, "ADO_QUESTION_HOLD_SECONDS": "2"}
    plane.add_worker(name, "--capability", agent, "--capability", name, env=env)
    words = command(models, agent, "limit5x1", "--require", name, "--detach", "-o", "name", "--repo")
    task = plane.ado(*words, check=0, cwd=repository).stdout.decode().strip()
    until(lambda: events(plane, task, "released"), "the job to be handed back", 120)
    limited, released = events(plane, task, "rate_limited", "released")
    assert (limited["agent"], released["reason"]) == (agent, "rate_limit")
    return task, words[-1].encode(), limited


def goes_on(plane, models, task, prompt):
    """Wait for the end of the task: its second attempt has gone on in the session of the first."""
    plane.ado("wait", task, check=0, timeout=180)
    job = plane.task(task)["jobs"][0]
    assert (job["status"], job["attempt"]) == ("succeeded", 2)
    said = events(plane, task, "agent")
    sessions = [(event["attempt"], event["sessionId"]) for event in said if event["event"] == "session"]
    last = [session for attempt, session in sessions if attempt == 1][-1]
    assert {session for attempt, session in sessions if attempt == 2} == {last}
    assert any(prompt in asked and b"were interrupted" in asked for asked in models.asked)
    plane.ado("workers", "drain", job["workerId"], check=0)


@pytest.mark.parametrize("agent", VARIABLES)
def test_a_refused_agent_goes_on_with_another_credential_and_in_its_session_after_a_long_limit(
    plane, models, agent, repository
):
    """The first credential is revoked. The second is limited for longer than the worker is held."""
    variable = VARIABLES[agent]
    keys = {variable: f"sk-ant-revoked-key-of-{agent}", f"{variable}_2": f"sk-ant-second-key-of-{agent}"}
    task, prompt, limited = begin(plane, models, agent, repository, **keys)
    assert limited["credential"] == f"{variable}_2"
    progress = f"the model's service refused {variable} as invalid; the agent goes on with {variable}_2"
    assert progress in [event["message"] for event in events(plane, task, "progress")]
    goes_on(plane, models, task, prompt)
    said = [event["message"] for event in events(plane, task, "progress")]
    assert said.count(progress) == 1  # the second attempt has begun with the second credential
    assert "-key-of-" not in json.dumps(events(plane, task, "agent", "progress", "rate_limited"))


def test_gemini_goes_on_in_its_session_after_a_long_limit(plane, models, repository):
    """It takes several seconds to start, so this is without a second credential."""
    task, prompt, limited = begin(plane, models, "gemini-cli", repository)
    assert "credential" not in limited
    goes_on(plane, models, task, prompt)


def test_jobs_of_an_agent_whose_credential_is_refused_wait_until_a_probe_finds_it_put_right(plane, models):
    key = "sk-ant-revoked-key-of-everybody"
    plane.add_worker("sick", "--capability", "claude-code", "--capability", "sick", "--slots", "2",
                     env={"ANTHROPIC_API_KEY": key})  # fmt: skip
    words = command(models, "claude-code", "text", "--require", "sick", "--no-repo", "--detach", "-o", "name")

    def begun(jobs):
        more = [*words[:-1], "--workers", str(jobs), words[-1]]
        return plane.ado(*more, check=0).stdout.decode().strip()

    refused = begun(2)
    plane.ado("wait", refused, check=1, timeout=180)
    assert [job["reason"] for job in plane.task(refused)["jobs"]] == ["auth"] * 2
    waiting = begun(2)
    why = "agent claude-code is unhealthy: its last 2 attempts failed before it did anything, the last one with auth"
    assert why in plane.ado("explain", waiting, check=0).stdout.decode()
    models.restored.add(key)
    plane.ado("wait", waiting, check=0, timeout=240)
    started = plane.sql(
        "select type, job from ado.events where task_id = %s and type in ('started', 'finished') order by seq limit 2",
        int(waiting.removeprefix("task-")),
    )
    assert [kind for kind, _ in started] == ["started", "finished"]  # one job has tried the agent before the other
    assert json.loads(plane.ado("workers", "status", "-o", "json").stdout)["unhealthyAgents"] == []
    plane.ado("workers", "drain", "sick", check=0)
