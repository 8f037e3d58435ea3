"""Running an agent here: its output goes where it belongs, and a reader that leaves ends it."""

import asyncio
import os
import subprocess
import sys

import pytest
from support import forkserver
from support.program import processes_with

from worker import local_run
from worker.agents import events
from worker.agents.base import AgentReader, Launch
from worker.agents.verdict import Outcome
from worker.commands import NO_COMMANDS, Commands

COMMAND = [sys.executable, "-P", "-m", "cli", "run", "--agent", "shell"]


def environment(home):
    return {**os.environ, "ADO_HOME": str(home), "HOME": str(home)}


def run(*arguments, home, agent="shell", **options):
    command = ["run", "--agent", agent, *arguments]
    return forkserver.run(command, env=environment(home), cwd=str(home), timeout=60, **options)


def test_both_streams_keep_their_order(tmp_path):
    script = "for i in 1 2 3 4 5 6 7 8; do echo o$i; echo e$i >&2; done"
    done = run(script, home=tmp_path, merged=True)
    assert done.stdout.split() == [f"{name}{i}".encode() for i in range(1, 9) for name in "oe"]


@pytest.mark.parametrize("workers", ["1", "3"])
def test_a_closed_stdout_ends_the_agent(tmp_path, workers):
    """``ado run yes | head`` ends, although the agent would write for ever."""
    command = [*COMMAND, "--workers", workers, "yes"]
    process = subprocess.Popen(command, env=environment(tmp_path), stdout=subprocess.PIPE, cwd=tmp_path)
    try:
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) != 0
    finally:
        process.kill()
        process.wait()


def test_the_event_pipe_is_read_without_a_listener(tmp_path):
    script = 'i=0; while [ $i -lt 2000 ]; do echo "{}" >&$ADO_EVENTS_FD; i=$((i+1)); done; echo done'
    done = run(script, home=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"done\n")


def test_a_long_script_runs_with_nothing_on_stdin(tmp_path):
    script = f"x={'a' * 300_000}\necho ${{#x}}\nread line || echo end\nexit 3"
    (tmp_path / "script").write_text(script)
    done = run("-F", "script", home=tmp_path)
    assert (done.returncode, done.stdout) == (3, b"300000\nend\n")


def test_a_long_script_of_steps_runs(tmp_path):
    (tmp_path / "play").write_text('{"say": "' + "a" * 300_000 + '"}\n{"exit": 4}\n')
    done = run("-F", "play", home=tmp_path, agent="scripted")
    assert (done.returncode, len(done.stdout)) == (4, 300_001)


def test_lines_of_several_jobs_are_numbered_and_safe_for_a_terminal(tmp_path):
    script = r"printf '\033[31mred\033[2J\n'; printf 'no end' >&2"
    done = run("--workers", "2", script, home=tmp_path)
    assert sorted(done.stdout.splitlines()) == [b"[0] red", b"[1] red"]
    assert sorted(done.stderr.splitlines()) == [b"[0] no end", b"[1] no end"]
    assert run(r"printf '\033[2J\377'", home=tmp_path).stdout == b"\033[2J\377"


def test_a_prompt_of_a_megabyte_runs_from_a_file_and_from_stdin(tmp_path):
    script = f": {'a' * (1024 * 1024 - 20)}\necho done"
    (tmp_path / "script").write_text(script)
    assert run("-F", "script", home=tmp_path).stdout == b"done\n"
    assert run("-F", "-", home=tmp_path, data=script.encode()).stdout == b"done\n"


class Talker:
    """An AI agent: its prompt is a shell script that writes the agent's lines."""

    needs = None
    converses = takes_messages = True

    def launch(self, run):
        if run.session:  # the words of a later turn
            return Launch(["/bin/sh", "-c", f"""echo '{{"type": "go on", "in": "{run.session}"}}'"""])
        return Launch(["/bin/sh", "-c", run.prompt])

    def reader(self, run):
        return TalkerReader(run)


class TalkerReader(AgentReader):
    def __init__(self, run):
        super().__init__(run)
        self._handlers = {"say": self._say, "go on": self._go_on}
        self._words = run.prompt

    def _say(self, line):
        self.session = "talk-1"
        self._verdict.end(line["ok"], line["text"])
        return [events.text(line["text"], streamed=False)]

    def _go_on(self, line):
        self._verdict.end(True, "mended")
        return [events.text(f"{line['in']} heard {self._words}", streamed=False)]


async def talk(monkeypatch, prompt, show, timeout=None, checks=NO_COMMANDS, interrupted=None):
    monkeypatch.setitem(local_run.AGENTS, "talker", Talker())
    job = {"prompt": prompt, "agent": "talker", "job": 0, "workers": 1, "args": {}, "stdin": False}
    job["checks"] = checks
    return await local_run._run_one(job, {}, timeout, interrupted or asyncio.Event(), show)


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

    mark = f"sleep 60 # of the talker of {os.getpid()}"  # other processes run tests beside this one
    with pytest.raises(BrokenPipeError):
        await talk(monkeypatch, f"echo x; {mark}", show)
    assert not processes_with(mark)


async def test_an_agent_that_takes_too_long_is_ended(monkeypatch):
    assert await talk(monkeypatch, "exec sleep 60 # of the talker", print, timeout=0.1) == 124


def commands(*checks, setup=None, tries=3, limit=600.0):
    return {"setup": setup, "commands": checks, "tries": tries, "timeoutSeconds": limit}


def test_setup_and_checks_run_around_a_command_in_its_directory(tmp_path):
    options = ("--setup", "echo begun > setup", "--check", "cat setup work")
    done = run(*options, "cat setup; echo done > work", home=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"begun\n")
    assert b"check: begun\ncheck: done\n" in done.stderr
    assert b"check 'cat setup work' passed" in done.stderr


def test_a_failed_setup_ends_the_run_before_its_command(tmp_path):
    done = run("--setup", "echo no registry; exit 5", "echo never", home=tmp_path)
    assert (done.returncode, done.stdout) == (5, b"")
    assert b"setup: no registry" in done.stderr
    assert b"setup_failed: the setup 'echo no registry; exit 5' ended with exit code 5" in done.stderr


def test_the_first_check_that_a_command_fails_ends_the_run_with_its_code(tmp_path):
    options = ("--check", "true", "--check", "exit 3", "--check", "echo later")
    done = run(*options, "echo mine", home=tmp_path)
    assert (done.returncode, done.stdout) == (3, b"mine\n")
    assert b"check_failed: the check 'exit 3' ended with exit code 3" in done.stderr
    assert b"later" not in done.stderr.replace(b"echo later", b"")


def test_no_check_runs_after_a_command_that_failed(tmp_path):
    done = run("--check", "echo checked", "exit 4", home=tmp_path)
    assert (done.returncode, b"checked" in done.stderr) == (4, False)


def test_checks_that_a_task_cannot_have_are_a_usage_error(tmp_path):
    done = run("--check", "true", "--check-tries", "0", "true", home=tmp_path)
    assert done.returncode == 2
    assert b"tries" in done.stderr


def project(home, text):
    """Make a repository with a project file, and a HOME beside it whose git configuration the test may write."""
    subprocess.run(["git", "init", "-q", str(home / "project")], check=True, capture_output=True)
    (home / "project" / ".ado.toml").write_text(text)
    return home / "project"


def run_in(place, *arguments, below=""):
    """Run in a project, as somebody whose HOME is beside it."""
    home = place.parent
    env = {**os.environ, "ADO_HOME": str(home), "HOME": str(home), "GIT_CONFIG_GLOBAL": str(home / ".gitconfig")}
    return forkserver.run(["run", "--agent", "shell", *arguments], env=env, cwd=str(place / below), timeout=60)


def test_commands_of_a_projects_file_run_here_only_if_the_user_trusts_the_repository(tmp_path):
    place = project(tmp_path, 'setup = "touch owned"\ncheck = "exit 3"\ncheck-tries = 2\n')
    done = run_in(place, "echo mine")
    assert (done.returncode, done.stdout) == (0, b"mine\n")
    assert not (place / "owned").exists()
    assert b"not run, because the repository's .ado.toml names it: setup and check" in done.stderr
    trust = ["git", "config", "--file", str(tmp_path / ".gitconfig"), "ado.trustedRepository", str(place)]
    subprocess.run(trust, check=True)
    done = run_in(place, "echo mine")
    assert (done.returncode, (place / "owned").exists()) == (3, True)
    assert run_in(place, "--no-project-file", "echo mine").returncode == 0


def test_a_repository_cannot_trust_itself(tmp_path):
    place = project(tmp_path, 'setup = "touch owned"\n')
    subprocess.run(["git", "-C", str(place), "config", "ado.trustedRepository", "*"], check=True)
    assert run_in(place, "true").returncode == 0
    assert not (place / "owned").exists()


def test_other_defaults_of_a_project_count_here_without_trust_and_below_its_top(tmp_path):
    place = project(tmp_path, 'timeout = "1s"\nnetwork = "none"\napprove = "ask"\n')
    (place / "below").mkdir()
    done = run_in(place, "sleep 60", below="below")
    assert done.returncode == 124
    assert b"timeout '1s'" in done.stderr
    assert b"network" not in done.stderr
    assert b"approve" not in done.stderr


async def test_a_failed_check_is_told_to_the_agent_in_its_session(monkeypatch, tmp_path):
    shown, check = [], f"echo line 7; test -f {tmp_path}/tried || {{ touch {tmp_path}/tried; exit 1; }}"
    prompt = """echo '{"type": "say", "text": "done", "ok": true}'"""
    assert await talk(monkeypatch, prompt, shown.append, checks=commands(check)) == 0
    assert [(event["exitCode"], event["try"]) for event in shown if event["type"] == "check"] == [(1, 1), (0, 2)]
    said = [event["text"] for event in shown if event["type"] == "agent"]
    assert len(said) == 2
    assert said[1].startswith("talk-1 heard A check of your work has failed")
    assert "line 7" in said[1]


async def test_an_agent_has_as_many_tries_as_are_asked_for(monkeypatch):
    shown, prompt = [], """echo '{"type": "say", "text": "done", "ok": true}'"""
    assert await talk(monkeypatch, prompt, shown.append, checks=commands("exit 9", tries=2)) == 9
    assert [event["try"] for event in shown if event["type"] == "check"] == [1, 2]


@pytest.mark.parametrize("part", ["setup", "check"])
async def test_an_interrupt_or_the_time_limit_ends_a_command_with_its_processes(monkeypatch, part):
    mark = f"sleep 60 # {part} of the talker of {os.getpid()}"
    wish = commands(setup=mark) if part == "setup" else commands(mark)
    prompt = """echo '{"type": "say", "text": "done", "ok": true}'"""
    assert await talk(monkeypatch, prompt, print, timeout=1, checks=wish) == 124
    interrupted = asyncio.Event()
    running = asyncio.create_task(talk(monkeypatch, prompt, print, checks=wish, interrupted=interrupted))
    while not processes_with(mark):
        assert not running.done()
        await asyncio.sleep(0.01)
    interrupted.set()
    assert await running == 130
    assert not processes_with(mark)


async def test_a_stop_between_the_turn_and_its_checks_leaves_no_unchecked_success():
    setting = local_run._LocalSetting()
    checks = Commands(commands("true"), setting, None, mends=True)
    setting.stop.request(Outcome("released"))
    assert await checks.check(Outcome("succeeded", 0)) == (Outcome("released"), [])
    without = Commands(NO_COMMANDS, setting, None, mends=True)
    assert await without.check(Outcome("succeeded", 0)) == (Outcome("succeeded", 0), [])
