"""claude-code, gemini-cli and codex, headless on a worker: their events, results, stops and resumed sessions."""

import json
import re
import subprocess

import pytest
from support.models import command
from support.program import processes_in_network, until

from worker.output.masking import MASK

AGENTS = ("claude-code", "gemini-cli", "codex")
LARGEST_PROMPT = 2**20
pytestmark = [pytest.mark.timeout(400), pytest.mark.parametrize("agent", AGENTS)]


def run(plane, models, agent, scenario, *more, code=0):
    """Run to the end; return the task, its events without what the agent does not say, and the command."""
    done = plane.ado(*command(models, agent, scenario, "--no-repo", *more), timeout=300)
    assert done.returncode == code, (done.returncode, done.stdout[-1500:], done.stderr[-3000:])
    name = re.search(rb"task-\d+", done.stderr)[0].decode()
    return plane.task(name), told(plane, name), done


def told(plane, name):
    return [event for event in plane.events(name) if event["type"] == "agent"]


def first(found, kind):
    return next(event for event in found if event["event"] == kind)


def test_an_answer_is_streamed_and_its_usage_recorded(plane, models, agent):
    task, found, done = run(plane, models, agent, "text")
    assert done.stdout.startswith(b"Stub final answer. users=")
    assert first(found, "session")["sessionId"]
    assert first(found, "result")["ok"]
    usage = task["jobs"][0]["usage"]
    assert usage["inputTokens"] >= 111
    assert usage["outputTokens"] >= 22
    assert ("costUsd" in usage) == (agent == "claude-code")
    rows = plane.sql("select agent, input_tokens from ado.usage where task = %s", task["taskId"])
    assert rows == [(agent, usage["inputTokens"])]
    assert b"tokens in" in plane.ado("tasks", "show", task["taskId"], check=0).stdout
    own = plane.ado("attach", task["taskId"], "--raw-events", check=0).stdout.splitlines()
    assert all(isinstance(json.loads(line), dict) for line in own if line.startswith(b"{"))
    assert sum(line.startswith(b"{") for line in own) == sum("raw" in event for event in found)


def test_a_prompt_of_a_mebibyte_reaches_the_model_whole(plane, models, agent, tmp_path):
    """No argument of a program may have more than 128 KiB, and the largest prompt is eight times that."""
    prompt = "".join(f"word {number} " for number in range(100_000))[: LARGEST_PROMPT - 1] + "."
    (tmp_path / "prompt").write_text(prompt)
    *words, _ = command(models, agent, "text", "--no-repo", "--file", str(tmp_path / "prompt"))
    done = plane.ado(*words, timeout=300, check=0)
    assert b"Stub final answer. users=" in done.stdout
    assert any(prompt.encode() in asked for asked in models.asked), [len(asked) for asked in models.asked]


@pytest.fixture
def repository(tmp_path):
    """A git repository with one commit."""
    for words in (["init", "-q", "-b", "main"], ["commit", "-q", "--allow-empty", "-m", "Begin"]):
        git(tmp_path, *words)
    return tmp_path


def git(where, *words):
    named = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
    return subprocess.run(["git", *named, *words], cwd=where, check=True, capture_output=True, text=True).stdout


def test_an_edit_of_a_repository_is_returned(plane, models, agent, repository):
    done = plane.ado(*command(models, agent, "tool", "--repo"), timeout=300, check=0, cwd=repository)
    assert "⚙".encode() in done.stderr
    assert "echo hello-from-tool → exit 0".encode() in done.stderr
    name = re.search(rb"task-\d+", done.stderr)[0].decode()
    ended = [event for event in told(plane, name) if event["event"] == "tool_end"]
    assert [event["ok"] for event in ended] == [True, True]
    plane.ado("apply", name, check=0, cwd=repository)
    assert (repository / "stub-note.txt").read_text() == "written by the stub\n"


def test_wrong_credentials_are_reported(plane, models, agent):
    task, found, _ = run(plane, models, agent, "401", code={"claude-code": 1, "gemini-cli": 145, "codex": 1}[agent])
    assert task["jobs"][0]["reason"] == "auth"
    assert not first(found, "result")["ok"]
    if agent != "gemini-cli":
        assert first(found, "retry")["status"] == 401


def test_a_rate_limit_is_reported_and_waited_for(plane, models, agent):
    """Each repeats its request by itself; test_limits has the limits that an agent does not wait for."""
    task, found, done = run(plane, models, agent, "429x1")
    assert task["status"] == "succeeded"
    assert first(found, "retry")["status"] == 429
    assert "↻ the model is asked again (1".encode() in done.stderr


def test_a_broken_answer_fails_unless_the_agent_repeats_the_request(plane, models, agent):
    """claude-code gets the answer by another call."""
    code = {"claude-code": 0, "gemini-cli": 1, "codex": 1}[agent]
    task, found, _ = run(plane, models, agent, "midfail", code=code)
    assert first(found, "result")["ok"] == (code == 0)
    assert task["jobs"][0].get("reason") == (None if code == 0 else "agent_error")


def test_a_service_that_falls_silent_ends_the_attempt(plane, models, agent):
    plane.add_worker("impatient", "--capability", agent, "--capability", "impatience",
                     env={"ADO_AGENT_IDLE_SECONDS": "15"})  # fmt: skip
    task, found, _ = run(plane, models, agent, "stall", "--require", "impatience", code=124)
    assert task["jobs"][0]["reason"] == "timed_out"
    assert "said nothing for 15 seconds" in task["jobs"][0]["message"]
    assert first(found, "session")
    plane.ado("workers", "drain", "impatient", check=0)


def test_a_cancel_ends_the_agent_and_its_tool(plane, models, agent):
    name = plane.ado(*command(models, agent, "longtool", "--no-repo", "--detach", "-o", "name"), check=0).stdout
    name = name.decode().strip()
    until(lambda: processes_in_network("do echo tick $i; sleep 2"), "the tool to run", 120)
    plane.ado("cancel", name, check=0)
    plane.ado("wait", name, check=1, timeout=120)
    assert plane.task(name)["status"] == "cancelled"
    until(lambda: not agent_processes(), "the agent and its tool to be gone")


def agent_processes():
    marks = ("do echo tick $i; sleep 2", "stream-json", "exec\0--json")
    return [pid for mark in marks for pid in processes_in_network(mark)]


def test_another_worker_resumes_an_agent_whose_worker_was_killed(plane, models, agent, repository):
    """The answer tells how many messages it was sent: one more than in a new session."""
    doomed = [plane.add_worker(f"{name}-{agent}", "--capability", agent, "--capability", "doomed")
              for name in ("first", "second")]  # fmt: skip
    wish = command(models, agent, "twostep", "--repo", "--require", "doomed", "--detach", "-o", "name")
    name = plane.ado(*wish, check=0, cwd=repository).stdout.decode().strip()
    until(lambda: any(event["type"] == "checkpoint" for event in log(plane, name)), "the work to be saved", 120)
    until(lambda: processes_in_network("do echo tick $i; sleep 2"), "the second tool to run", 120)
    held = plane.task(name)["jobs"][0]["workerId"]
    victim = next(process for process in doomed if held in process.args)
    victim.kill()
    plane.ado("wait", name, check=0, timeout=200)
    until(lambda: not agent_processes(), "the agents and their tools to be gone")
    task, found = plane.task(name), told(plane, name)
    assert task["jobs"][0]["attempt"] == 2
    sessions = [event["sessionId"] for event in found if event["event"] == "session"]
    assert len(set(sessions)) == 1
    users = int(re.search(r"users=(\d+)", first(found, "result")["message"])[1])
    assert users == {"claude-code": 2, "gemini-cli": 2, "codex": 3}[agent]
    for process in doomed:
        if process is not victim:
            plane.ado("workers", "drain", next(word for word in process.args if word.endswith(agent)), check=0)


def log(plane, name):
    rows = plane.sql("select type from ado.events where task_id = %s", int(name.removeprefix("task-")))
    return [{"type": row[0]} for row in rows]


def test_the_worker_is_listed_with_agent_versions_and_without_keys(plane, models, agent):
    pinned = {"claude-code": "2.1.330", "gemini-cli": "0.61.0", "codex": "0.169.0"}
    assert f"{agent} {pinned[agent]}".encode() in plane.ado("workers", "status", check=0).stdout
    doctor = json.loads(plane.ado("doctor", "--agents", "-o", "json", check=0).stdout)
    assert next(item for item in doctor["items"] if item["name"] == agent)["ok"]
    assert MASK not in json.dumps(doctor).encode()
    rows = plane.sql("select coalesce(data, convert_to(body::text, 'UTF8')) from ado.events")
    everything = b"".join(bytes(row[0]) for row in rows)
    assert b"stub-key-of" not in everything
    assert b"sk-ant-stub" not in everything
