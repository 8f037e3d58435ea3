"""Messages to the real agents: each gets them by its own means, once, in the conversation that it has."""

import subprocess

import pytest
from support.models import command
from support.program import processes_in_network, until

AGENTS = ("claude-code", "gemini-cli", "codex")
pytestmark = [pytest.mark.timeout(400), pytest.mark.parametrize("agent", AGENTS)]


def begin(plane, models, agent, scenario, *more, cwd="/"):
    words = command(models, agent, scenario, "--detach", "-o", "name", *more)
    return plane.ado(*words, check=0, cwd=cwd).stdout.decode().strip()


def events(plane, task, *types):
    rows = plane.sql(
        "select type, attempt, body from ado.events where task_id = %s and type = any(%s) order by seq",
        int(task.removeprefix("task-")), list(types),
    )  # fmt: skip
    return [{"type": kind, "attempt": attempt, **body} for kind, attempt, body in rows]


def answers(plane, task):
    """Return the last words of each turn."""
    return [event["message"] for event in events(plane, task, "agent") if event["event"] == "result"]


def asked(models, words):
    """Whether the model was sent these words."""
    return any(words.encode() in body for body in models.asked)


def test_a_working_agent_gets_a_message_in_its_conversation_before_the_attempt_ends(plane, models, agent):
    """claude-code takes it after the tool that runs, in the same turn; the others in the next turn of their session."""
    task = begin(plane, models, agent, "brieftool", "--no-repo")
    until(lambda: processes_in_network("do echo tick $i; sleep 2"), "the tool to run", 120)
    words = f"mind the tabs of {agent}"
    plane.ado("send", task, words, check=0)
    plane.ado("wait", task, check=0, timeout=180)
    (delivered,) = events(plane, task, "delivered")
    assert delivered["attempt"] == 1
    assert asked(models, words)
    assert len(answers(plane, task)) == (1 if agent == "claude-code" else 2)
    assert agent == "claude-code" or words in answers(plane, task)[-1]
    assert len(events(plane, task, "finished")) == 1
    assert not events(plane, task, "continued")


def test_a_job_that_has_ended_continues_in_the_agents_session(plane, models, agent, tmp_path):
    for more in (["init", "-q", "-b", "main"], ["commit", "-q", "--allow-empty", "-m", "Begin"]):
        named = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
        subprocess.run(["git", *named, *more], cwd=tmp_path, check=True, capture_output=True)
    plane.add_worker(f"own-{agent}", "--capability", agent, "--capability", f"own-{agent}", env=services(models))
    words = ["run", "--remote", "--agent", agent, "--repo", "--require", f"own-{agent}", "--detach", "-o", "name"]
    words += ["--model", "stub-model"] if agent == "codex" else []
    task = plane.ado(*words, "write the note", check=0, cwd=tmp_path).stdout.decode().strip()
    plane.ado("wait", task, check=0, timeout=120)
    plane.ado("send", task, f"and then, {agent}?", check=0)
    until(lambda: events(plane, task, "delivered"), "the message to be delivered", 120)
    plane.ado("wait", task, check=0, timeout=120)
    assert len(events(plane, task, "continued")) == 1
    sessions = {event["sessionId"] for event in events(plane, task, "agent") if event["event"] == "session"}
    assert len(sessions) == 1
    assert f"and then, {agent}?" in answers(plane, task)[-1]
    assert "were interrupted" not in answers(plane, task)[-1]
    plane.ado("apply", task, check=0, cwd=tmp_path)
    assert (tmp_path / "stub-note.txt").read_text() == "written by the stub\n"
    plane.ado("workers", "drain", f"own-{agent}", check=0)


def services(models):
    """Return the variables that lead a worker's agents to the stub; a task's own would be deleted with its success."""
    url = models.url("tool")
    return {"ANTHROPIC_BASE_URL": url, "GOOGLE_GEMINI_BASE_URL": url, "OPENAI_BASE_URL": f"{url}/v1"}
