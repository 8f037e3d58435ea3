"""Running an agent here: its output goes where it belongs, and a reader that leaves ends it."""

import asyncio
import os
import subprocess
import sys

import pytest
from support.program import processes_with

from worker import local_run
from worker.agents import events
from worker.agents.base import AgentReader, Launch

COMMAND = [sys.executable, "-P", "-m", "cli", "run", "--agent", "shell"]


def run(*arguments, home, **options):
    env = {**os.environ, "ADO_HOME": str(home), "HOME": str(home)}
    return subprocess.run([*COMMAND, *arguments], env=env, cwd=home, check=False, timeout=60, **options)


def test_both_streams_keep_their_order(tmp_path):
    script = "for i in 1 2 3 4 5 6 7 8; do echo o$i; echo e$i >&2; done"
    done = run(script, home=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.stdout.split() == [f"{name}{i}".encode() for i in range(1, 9) for name in "oe"]


@pytest.mark.parametrize("workers", ["1", "3"])
def test_a_closed_stdout_ends_the_agent(tmp_path, workers):
    """``ado run yes | head`` ends, although the agent would write for ever."""
    env = {**os.environ, "ADO_HOME": str(tmp_path), "HOME": str(tmp_path)}
    process = subprocess.Popen([*COMMAND, "--workers", workers, "yes"], env=env, stdout=subprocess.PIPE, cwd=tmp_path)
    try:
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(30) != 0
    finally:
        process.kill()
        process.wait()


def test_the_event_pipe_is_read_without_a_listener(tmp_path):
    script = 'i=0; while [ $i -lt 2000 ]; do echo "{}" >&$ADO_EVENTS_FD; i=$((i+1)); done; echo done'
    done = run(script, home=tmp_path, stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (0, b"done\n")


def test_a_long_script_runs_with_nothing_on_stdin(tmp_path):
    script = f"x={'a' * 300_000}\necho ${{#x}}\nread line || echo end\nexit 3"
    (tmp_path / "script").write_text(script)
    done = run("-F", "script", home=tmp_path, stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (3, b"300000\nend\n")


def test_a_long_script_of_steps_runs(tmp_path):
    (tmp_path / "play").write_text('{"say": "' + "a" * 300_000 + '"}\n{"exit": 4}\n')
    command = [*COMMAND[:-1], "scripted", "-F", "play"]
    env = {**os.environ, "ADO_HOME": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run(command, env=env, cwd=tmp_path, check=False, timeout=60, stdout=subprocess.PIPE)
    assert (done.returncode, len(done.stdout)) == (4, 300_001)


def test_lines_of_several_jobs_are_numbered_and_safe_for_a_terminal(tmp_path):
    script = r"printf '\033[31mred\033[2J\n'; printf 'no end' >&2"
    done = run("--workers", "2", script, home=tmp_path, capture_output=True)
    assert sorted(done.stdout.splitlines()) == [b"[0] red", b"[1] red"]
    assert sorted(done.stderr.splitlines()) == [b"[0] no end", b"[1] no end"]
    assert run(r"printf '\033[2J\377'", home=tmp_path, stdout=subprocess.PIPE).stdout == b"\033[2J\377"


def test_a_prompt_of_a_megabyte_runs_from_a_file_and_from_stdin(tmp_path):
    script = f": {'a' * (1024 * 1024 - 20)}\necho done"
    (tmp_path / "script").write_text(script)
    assert run("-F", "script", home=tmp_path, stdout=subprocess.PIPE).stdout == b"done\n"
    assert run("-F", "-", home=tmp_path, input=script.encode(), stdout=subprocess.PIPE).stdout == b"done\n"


class Talker:
    """An AI agent: its prompt is a shell script that writes the agent's lines."""

    needs = None

    def launch(self, run):
        return Launch(["/bin/sh", "-c", run.prompt])

    def reader(self, run):
        return TalkerReader(run)


class TalkerReader(AgentReader):
    def __init__(self, run):
        super().__init__(run)
        self._handlers = {"say": self._say}

    def _say(self, line):
        self._verdict.end(line["ok"], line["text"])
        return [events.text(line["text"], streamed=False)]


async def talk(monkeypatch, prompt, show, timeout=None):
    monkeypatch.setitem(local_run.AGENTS, "talker", Talker())
    job = {"prompt": prompt, "agent": "talker", "job": 0, "workers": 1, "args": {}, "stdin": False}
    return await local_run._run_one(job, {}, timeout, asyncio.Event(), show)


@pytest.mark.parametrize(("ok", "code"), [("true", 0), ("false", 1)])
async def test_an_ai_agents_events_are_shown_and_its_own_verdict_counts(monkeypatch, ok, code):
    shown = []
    line = f'{{"type": "say", "text": "hello", "ok": {ok}}}'
    assert await talk(monkeypatch, f"echo '{line}'; echo oh >&2", shown.append) == code
    assert {(event["type"], event.get("text"), event.get("data")) for event in shown[:-1]} == {
        ("agent", "hello", None),
        ("output", None, "oh\n"),
    }
    assert shown[-1]["type"] == "finished"


async def test_an_error_of_the_event_sink_ends_the_agent(monkeypatch):
    def show(_):
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        await talk(monkeypatch, "echo x; sleep 60 # of the talker", show)
    assert not processes_with("sleep 60 # of the talker")


async def test_an_agent_that_takes_too_long_is_ended(monkeypatch):
    assert await talk(monkeypatch, "exec sleep 60 # of the talker", print, timeout=0.1) == 124
