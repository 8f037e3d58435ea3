"""Questions asked on a real terminal where they appear, and what becomes of the terminal."""

import json
import os
import re
import signal
import termios

import pytest
from support.program import until
from support.screen import Terminal


@pytest.fixture(scope="module")
def plane(shared_cluster, acp_programs):
    env = acp_programs.environment("fake")
    capabilities = ("--capability", "fake", "--capability", "shell")
    shared_cluster.add_worker("asking", *capabilities, "--slots", "4", env=env)
    return shared_cluster


@pytest.fixture
def terminal(plane):
    opened = []

    def start(*arguments, **env):
        made = Terminal(arguments, {**plane.client_env(), **env}, columns=120)
        opened.append(made)
        return made

    yield start
    for made in opened:
        made.__exit__()


def is_cooked(seen):
    """Whether the terminal gives lines and shows what is typed."""
    wanted = termios.ICANON | termios.ECHO
    return termios.tcgetattr(seen._fd)[3] & wanted == wanted


def name_on(seen):
    return re.search(r"question-\d+", seen.text())[0]


def detached(plane, script):
    words = ["run", "--remote", "--detach", "-o", "name", "--agent", "shell", script]
    return plane.ado(*words, check=0).stdout.decode().strip()


def answers(plane, task):
    return [event.get("choice", event.get("text")) for event in plane.events(task) if event["type"] == "answer"]


@pytest.mark.parametrize(("key", "decision"), [("a", "allowed"), ("d", "denied")])
def test_a_key_answers_a_permission(plane, terminal, key, decision):
    seen = terminal("run", "--remote", "--agent", "fake", "--no-repo", "--wait-for-agent", "x", NO_COLOR="1")
    seen.until("press a to allow")
    assert "asks to use execute: make" in seen.text()
    assert not is_cooked(seen)
    seen.type("zq\x1b")  # no keys of this question
    seen.type(key)
    assert seen.end() == 0
    task = plane.last_task()
    assert [event["decision"] for event in plane.events(task) if event.get("event") == "permission"] == [decision]
    assert is_cooked(seen)


def test_questions_follow_each_other_by_key_and_by_line(plane, terminal):
    task = detached(plane, "ado ask Which? --option red --option blue; ado ask Name?")
    seen = terminal("attach", task)
    seen.until("press 1 for red, 2 for blue")
    seen.type("2")
    seen.until("type the answer and press Enter")
    assert is_cooked(seen)
    seen.type("port 8081\n")
    assert seen.end() == 0
    assert answers(plane, task) == ["blue", "port 8081"]


def test_an_answer_from_elsewhere_names_who_gave_it_and_ends_the_prompt(plane, terminal):
    task = detached(plane, "ado ask Which? --option red --option blue; ado ask Next?")
    seen = terminal("attach", task)
    seen.until("press 1 for red")
    plane.ado("answer", name_on(seen), "blue", check=0)
    seen.until("was answered by")
    seen.until("type the answer and press Enter")
    seen.type("1\n")
    assert seen.end() == 0
    assert answers(plane, task) == ["blue", "1"]


def test_control_c_detaches_and_restores_the_terminal(plane, terminal):
    task = detached(plane, "ado ask Which? --option red --option blue")
    seen = terminal("attach", task)
    seen.until("press 1 for red")
    assert not is_cooked(seen)
    seen.type("\x03")
    assert seen.end() == 130
    assert f"detached; {task} goes on" in seen.text()
    assert is_cooked(seen)
    plane.ado("answer", name_on(seen), "red", check=0)
    assert plane.ado("wait", task).returncode == 0


def test_a_signal_to_end_restores_the_terminal(plane, terminal):
    seen = terminal("attach", detached(plane, "ado ask Which? --option red --option blue"))
    seen.until("press 1 for red")
    os.kill(seen.process.pid, signal.SIGTERM)
    assert seen.end() == 130
    assert is_cooked(seen)


def test_a_question_that_was_answered_before_is_not_asked(plane, terminal):
    task = detached(plane, "ado ask Which? --option red --option blue")

    def open_ones():
        items = json.loads(plane.ado("inbox", "--task", task, "-o", "json", check=0).stdout)["items"]
        return [item["questionId"] for item in items]

    until(open_ones, "the question")
    plane.ado("answer", open_ones()[0], "red", check=0)
    seen = terminal("attach", task)
    assert seen.end() == 0
    assert "press 1" not in seen.text()


def test_a_reader_is_told_that_it_may_not_answer(plane, terminal):
    task = detached(plane, "ado ask Which? --option red --option blue")
    viewer = plane.make_token("viewer")
    seen = terminal("attach", task, ADO_TOKEN=viewer)
    seen.until("press 1 for red")
    seen.type("1")
    seen.until("viewer")
    assert name_on(seen) in plane.ado("inbox", check=0).stdout.decode()
    plane.ado("cancel", task, check=0)
    seen.end()


def test_without_a_terminal_the_command_is_shown(plane):
    task = detached(plane, "ado ask Which? --timeout 0.2s --default d")
    done = plane.ado("attach", task, check=0)
    assert b"ado answer question-" in done.stderr
    assert b"press" not in done.stderr
