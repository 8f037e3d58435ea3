"""An attempt whose agent is refused goes on with the same turn: a program that speaks as claude does, under a keeper.

Each start of the program takes the next of its turns, and notes what it was started with.
"""

import asyncio
import json
import os
import sys

import pytest

from worker import rate_limits
from worker.attempt import Attempt
from worker.machine_health import MachineHealth
from worker.output.wire_events import ServerLimits
from worker.processes.removal import RemovalQueue
from worker.repository.transfers import AttemptFiles
from worker.secret_store import SecretStore
from worker.settings import WorkerSettings

from .test_attempt import Server

PROGRAM = """#!{python}
import json, os, sys, time
from pathlib import Path
notes = Path(os.environ["NOTES"])
words = json.loads(sys.stdin.readline())["message"]["content"]
keys = [os.environ.get(name) for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")]
option = "--resume" if "--resume" in sys.argv else "--session-id"
session = sys.argv[sys.argv.index(option) + 1]
with notes.open("a") as file:
    file.write(json.dumps({{"words": words, "keys": keys, "option": option}}) + "\\n")
saved = Path.home() / ".claude/projects/x" / (session + ".jsonl")
saved.parent.mkdir(parents=True, exist_ok=True)
saved.touch()
lines = json.loads(os.environ["TURNS"])[len(notes.read_text().splitlines()) - 1]
lines.insert(0, {{"type": "system", "subtype": "init", "session_id": session}})
# At once, also where Python is told not to buffer: no line comes after the worker has stopped the program.
os.write(1, "".join(json.dumps(line) + "\\n" for line in lines).encode())
if lines[-1]["type"] != "result":
    time.sleep(60)
"""
ERROR = {"type": "result", "subtype": "success", "is_error": True, "api_error_status": 429,
         "result": "Request rejected (429). Please retry in 1s"}  # fmt: skip
DONE = {"type": "result", "subtype": "success", "is_error": False, "result": "done", "usage": {"input_tokens": 5}}
SAID = {"type": "assistant", "message": {"id": "m", "content": [{"type": "text", "text": "half"}]}}


def retry(seconds, status=429):
    return {"type": "system", "subtype": "api_retry", "attempt": 1, "max_retries": 10, "error": "no",
            "retry_delay_ms": seconds * 1000, "error_status": status}  # fmt: skip


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """A machine with the program, one credential, and waits of no length."""
    program = tmp_path / "bin" / "claude"
    program.parent.mkdir()
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "first-key-of-the-worker")
    waited = []
    monkeypatch.setattr(rate_limits, "sleep", lambda seconds: asyncio.sleep(0, waited.append(round(seconds))))
    return waited


@pytest.fixture
def server():
    return Server()


def make(server, tmp_path, *turns, **members):
    """Return an attempt whose program takes these turns."""
    env = {"NOTES": str(tmp_path / "notes"), "TURNS": json.dumps(turns)}
    job = {"jobId": "task-1/0", "taskId": "task-1", "job": 0, "attempt": 1, "prompt": "the prompt", "workers": 1,
           "agent": "claude-code", "env": env, "messages": 0, **members}  # fmt: skip
    settings = WorkerSettings(url=("http://x",), worker_id="w", work_dir=str(tmp_path / "work"), grace_seconds=0.2)
    return Attempt(
        job, server.call, settings, lambda fence: AttemptFiles(("http://x",), "", fence, 1), SecretStore({}),
        MachineHealth(str(tmp_path)), RemovalQueue(), ServerLimits(), subscribe=server.subscribe,
    )  # fmt: skip


async def run(server, tmp_path, *turns, **members):
    """Run an attempt; return the report of its end, and what the program was started with each time."""
    async with asyncio.timeout(60):
        await make(server, tmp_path, *turns, **members).run()
    return ended(server, tmp_path)


def ended(server, tmp_path):
    (report,) = server.finishes
    return report, [json.loads(line) for line in (tmp_path / "notes").read_text().splitlines()]


async def test_a_turn_that_had_not_begun_is_told_the_same_in_its_session(server, tmp_path, machine):
    report, starts = await run(server, tmp_path, [ERROR], [ERROR], [DONE], budget={"turns": 1, "onBudget": "fail"})
    assert (report["outcome"], report["usage"]["turns"]) == ("succeeded", 1)
    assert [(start["words"], start["option"]) for start in starts] == [
        ("the prompt", "--session-id"), ("the prompt", "--resume"), ("the prompt", "--resume"),
    ]  # fmt: skip
    assert machine == [1, 1]
    assert [event["type"] for event in server.events].count("rate_limited") == 2


async def test_a_turn_that_had_begun_is_told_to_go_on(server, tmp_path):
    report, starts = await run(server, tmp_path, [SAID, ERROR], [DONE])
    assert report["outcome"] == "succeeded"
    assert starts[1] == {**starts[0], "words": rate_limits.GO_ON, "option": "--resume"}


async def test_a_job_that_has_done_nothing_is_handed_back_until_the_limit_is_over(server, tmp_path, machine):
    report, starts = await run(server, tmp_path, [retry(4000)])
    assert (report["outcome"], report["reason"], len(starts), machine) == ("released", "rate_limit", 1, [])
    assert report["afterSeconds"] == pytest.approx(4000, abs=60)


async def test_work_that_no_checkpoint_has_is_kept_while_a_long_limit_is_waited_for(server, tmp_path, machine):
    report, starts = await run(server, tmp_path, [SAID, retry(4000)], [DONE])
    assert (report["outcome"], len(starts)) == ("succeeded", 2)
    assert [seconds for seconds in machine if seconds > 3900]


async def test_an_agent_that_is_stopped_just_as_it_goes_on_goes_on_later(server, tmp_path):
    report, starts = await run(server, tmp_path, [retry(4000), SAID], [DONE])
    assert (report["outcome"], len(starts)) == ("succeeded", 2)


async def test_the_credentials_of_the_worker_are_tried_in_turn(server, tmp_path, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN_2", "second-key-of-the-worker")
    told = {**DONE, "result": "I know first-key-of-the-worker and second-key-of-the-worker"}
    report, starts = await run(server, tmp_path, [retry(1, 401)], [told])
    assert report["outcome"] == "succeeded"
    assert [start["keys"] for start in starts] == [
        ["first-key-of-the-worker", None], [None, "second-key-of-the-worker"],
    ]  # fmt: skip
    said = json.dumps([server.events, report])
    assert "refused ANTHROPIC_API_KEY as invalid; the agent goes on with ANTHROPIC_AUTH_TOKEN_2" in said
    assert "key-of-the-worker" not in said
    assert "I know " in said


async def test_wrong_credentials_still_fail(server, tmp_path):
    refused = {**ERROR, "api_error_status": 401, "result": "invalid x-api-key"}
    report, starts = await run(server, tmp_path, [refused])
    assert (report["outcome"], report["reason"], len(starts)) == ("failed", "auth", 1)


async def test_a_stop_ends_the_wait(server, tmp_path, monkeypatch):
    monkeypatch.setattr(rate_limits, "sleep", lambda _: asyncio.Event().wait())
    attempt = make(server, tmp_path, [ERROR], [DONE])
    running = asyncio.create_task(attempt.run())
    async with asyncio.timeout(60):
        while not any(event["type"] == "rate_limited" for event in server.events):
            await asyncio.sleep(0.01)
        attempt.pause()
        await running
    report, starts = ended(server, tmp_path)
    assert (report["outcome"], report["reason"], len(starts)) == ("released", "paused", 1)
