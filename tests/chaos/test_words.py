"""Messages, questions, checks and pauses while workers, replicas, spawners, Postgres and commands are killed.

A person sends words to agents that ask for a tool for each word; the person answers every question, and pauses and
resumes the tasks. Every message and every answer has its effect once, a paused task runs nowhere, and no task is left
behind. The agent is a program that speaks as claude-code does.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest
from chaos.test_chaos import SETTINGS, SPAWNERS, Chaos, end_all, workers_of
from support import truth
from support.field import Field
from support.program import until

from app.rpc.client import CallError, HttpClient, NoAnswer

AGENT = Path(__file__).parents[1] / "support" / "word_agent.py"
TASKS, WORDS = 3, 6
_KILL_EVERY = 3
"""Answers between two kills."""


class Person:
    """Sends words and answers questions, over either replica, until each call is acknowledged."""

    def __init__(self, field, rng):
        self._field = field
        self._rng = rng
        self._client = HttpClient(field.view_urls, field.cluster.token)
        self.answered = 0
        self.pauses = 0

    def call(self, path, **value):
        end = time.monotonic() + 60
        while True:
            try:
                return self._client.mutate(path, value)
            except NoAnswer:
                if time.monotonic() > end:
                    raise
            except CallError as error:
                if error.reason not in ("database_unavailable", "draining") or time.monotonic() > end:
                    raise

    def create(self, number):
        checks = {"checks": {"commands": ["test -e mended"], "tries": 2}} if number % 2 else {}
        wish = {"prompt": "[word 0]", "agent": "claude-code", "agentArgs": {"approve": "ask"}, **checks}
        return self.call("tasks.create", **wish, idempotencyKey=f"chaos-{number}")["taskId"]

    def say(self, task, text, key):
        self.call("tasks.send", taskId=task, text=text, idempotencyKey=key)

    def answer_all(self):
        """Answer what is open; every third answer by a command, which may be killed before it is acknowledged."""
        try:
            page = self._client.query("questions.list", {"limit": 50})
        except (NoAnswer, CallError):
            return
        for question in page["items"]:
            if self._rng.random() < 0.3:
                command = self._field.cluster.open("approve", question["questionId"])
                if self._rng.random() < 0.5:
                    command.kill()
                command.communicate(timeout=60)
                continue
            try:
                self.call("questions.answer", questionId=question["questionId"], choice="allow")
                self.answered += 1
            except CallError as error:
                if error.reason not in ("already_answered", "question_closed"):
                    raise

    def pause(self, chaos, task):
        """Pause a task while something is killed, kill a spawner while it is paused, and resume it."""
        self.call("tasks.pause", taskId=task)
        chaos.kill_one()
        until(lambda: chaos.field.sql(_STATUS, _number(task))[0][0] not in ("queued", "running"), "the pause", 120)
        chaos.kill_spawner()
        status, workers = chaos.field.sql(_STATUS, _number(task))[0]
        if status == "paused":
            self.pauses += 1
            assert workers == 0, (task, workers)
        self.call("tasks.resume", taskId=task)

    def close(self):
        """Hang up, so that replicas can end."""
        self._client.close()


@pytest.mark.timeout(900)
def test_every_word_and_answer_counts_once_under_random_kills(chaos_seed, tmp_path):
    program = tmp_path / "claude"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{AGENT}" "$@"\n')
    program.chmod(0o755)
    tmp_path.chmod(0o755)
    env = {**SETTINGS, "ADO_WORKER_CAPABILITIES": "claude-code", "ANTHROPIC_API_KEY": "none"}
    with Field(env=env) as field:
        field.cluster.env["PATH"] = f"{tmp_path}:{field.cluster.env['PATH']}"
        rng = random.Random(chaos_seed)
        chaos, person = Chaos(field, rng, f"ado-words-{chaos_seed}"), Person(field, rng)
        try:
            for _ in range(SPAWNERS):
                chaos.start_spawner()
            tasks = [person.create(number) for number in range(TASKS)]
            _converse(field, chaos, person, tasks)
            for task in tasks:
                _check(field, task)
            assert person.pauses > 0
            person.close()
            end_all(chaos, str(tmp_path))
        finally:
            sys.stdout.write(f"seed {chaos_seed}: {person.answered} answers; killed {', '.join(chaos.done)}\n")
            person.close()
            for pid in workers_of(field):
                os.kill(pid, signal.SIGKILL)


def _converse(field, chaos, person, tasks):
    """Send each word once the one before has been asked about, kill between, and answer until all tasks have ended."""
    due, sent, began, pauses = _KILL_EVERY, dict.fromkeys(tasks, 0), time.monotonic(), False
    while open_tasks := [name for name in tasks if field.sql(_OPEN, _number(name))[0][0]]:
        person.answer_all()
        if person.answered >= due:
            pauses = not pauses
            if pauses:
                person.pause(chaos, chaos.rng.choice(open_tasks))
            else:
                chaos.kill_one()
            due = person.answered + _KILL_EVERY
        for name in open_tasks:
            heard = field.sql("select count(*) from ado.message_jobs where task_id = %s and delivered_at is not null",
                              _number(name))[0][0]  # fmt: skip
            if heard == sent[name] and sent[name] <= WORDS:
                sent[name] += 1
                text = "[end]" if sent[name] > WORDS else f"[word {sent[name]}]"
                person.say(name, text, f"{name}-{sent[name]}")
        assert time.monotonic() - began < 600, field.sql("select job_id, status, attempt from ado.job_status")
        time.sleep(0.05)


_OPEN = "select finished_at is null from ado.tasks where task_id = %s"
_STATUS = """select t.status, (select count(*) from ado.jobs j where j.task_id = t.task_id and j.status = 'running')
             from ado.tasks t where t.task_id = %s"""


def _check(field, name):
    log = truth.stored(field, name)
    truth.check_order(log)
    assert log[-1]["type"] == "succeeded", (name, log[-1])
    assert len(_of(log, "message")) == len(_of(log, "delivered")) == WORDS + 1
    assert len({event["body"]["messageId"] for event in _of(log, "delivered")}) == WORDS + 1
    answered = [event["body"]["questionId"] for event in _of(log, "answer")]
    assert len(answered) == len(set(answered))
    ((result,),) = field.sql("select result from ado.jobs where task_id = %s", _number(name))
    assert result["text"].split() == [str(number) for number in range(WORDS + 1)]
    if checks := [event["body"]["exitCode"] for event in _of(log, "check")]:
        assert checks[-1] == 0


def _of(log, kind):
    return [event for event in log if event["type"] == kind]


def _number(name):
    return int(name.removeprefix("task-"))
