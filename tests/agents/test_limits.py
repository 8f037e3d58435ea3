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
    assert "-key-of-" not in json.dumps(events(plane, task, "agent", "progress", "rate_limited"))


def test_gemini_goes_on_in_its_session_after_a_long_limit(plane, models, repository):
    """It takes several seconds to start, so this is without a second credential."""
    task, prompt, limited = begin(plane, models, "gemini-cli", repository)
    assert "credential" not in limited
    goes_on(plane, models, task, prompt)
