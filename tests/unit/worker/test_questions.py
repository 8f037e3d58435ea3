"""The questions of one attempt's agent: asked once, answered once, whatever is lost on the way."""

import asyncio
import json

import pytest

from app.rpc.client import CallError, NoAnswer
from worker import questions as module
from worker.agents.requests import AgentQuestion, PersonsAnswer
from worker.output.batches import LeaseLost
from worker.questions import INPUT_BYTES, Questions

FENCE = {"workerId": "w", "jobId": "task-1/0", "attempt": 2}


class Server:
    """Stores questions by their key, and keeps acknowledgements."""

    def __init__(self):
        self.asked, self.acknowledged, self.trouble, self.stored = [], [], [], {}
        self.changed = asyncio.Event()

    async def call(self, path, value):
        assert value.items() >= FENCE.items()
        if path == "workers.delivered":
            self.acknowledged += value["questionIds"]
            self.changed.set()
            return {}
        self.asked.append(value)
        self.changed.set()
        name = f"question-{len(self.stored) + 1}"
        question = self.stored.setdefault(value["key"], {"questionId": name, "state": "open"})
        if self.trouble:
            raise self.trouble.pop(0)
        return dict(question)

    def answer(self, key="k", **members):
        self.stored[key] |= {"state": "answered", "by": "anna", "answer": members}
        return dict(self.stored[key])


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def questions(server):
    return Questions(server.call, FENCE)


def permission(key="k", tool="Bash", value=None):
    return AgentQuestion(key, "permission", f"use {tool}", tool, value)


async def until(condition, changed):
    async with asyncio.timeout(60):
        while not condition():
            changed.clear()
            await changed.wait()


async def begin(questions, server, question):
    asking = asyncio.create_task(questions.ask(question))
    await until(lambda: server.asked, server.changed)
    return asking


async def test_an_answer_that_a_command_brings_ends_the_wait(questions, server):
    asking = await begin(questions, server, permission())
    assert questions.are_open
    questions.settle(server.answer(choice="allow"))
    assert (await asking) == PersonsAnswer("allow", None, "anna")
    assert not questions.are_open


async def test_a_command_that_comes_before_the_answer_of_the_call_counts(questions, server):
    questions.settle({"questionId": "question-1", "state": "answered", "answer": {"choice": "deny", "text": "no"}})
    async with asyncio.timeout(60):
        decision = await questions.ask(permission())
    assert (decision.allows, decision.refusal) == (False, "no")


async def test_a_call_without_an_answer_is_repeated_as_the_same_question(questions, server):
    server.trouble = [NoAnswer("http://a", "cut"), NoAnswer("http://a", "cut")]
    asking = await begin(questions, server, permission())
    await until(lambda: len(server.asked) == 3, server.changed)
    assert len({json.dumps(value) for value in server.asked}) == 1
    questions.settle(server.answer(choice="allow"))
    assert (await asking).allows


async def test_a_question_whose_command_was_lost_is_asked_again(questions, server, monkeypatch):
    monkeypatch.setattr(module, "_ASK_AGAIN_SECONDS", 0.01)
    asking = await begin(questions, server, permission())
    server.answer(choice="allow")
    async with asyncio.timeout(60):
        assert (await asking).allows


async def test_two_questions_wait_side_by_side(questions, server):
    first = await begin(questions, server, permission("a"))
    second = asyncio.create_task(questions.ask(permission("b")))
    await until(lambda: len(server.stored) == 2, server.changed)
    questions.settle(server.answer("b", choice="allow"))
    assert (await second).allows
    assert not first.done()
    questions.settle(server.answer("a", choice="deny"))
    assert not (await first).allows


async def test_each_command_is_acknowledged_even_one_that_nobody_waits_for(questions, server):
    sending = asyncio.create_task(questions.run())
    for _ in range(2):
        questions.settle({"questionId": "question-9", "state": "closed"})
        await until(lambda: server.acknowledged, server.changed)
    questions.close()
    await sending
    assert set(server.acknowledged) == {"question-9"}


@pytest.mark.parametrize(("state", "words"), [("expired", "in time"), ("closed", "closed")])
async def test_a_question_without_an_answer_is_a_refusal(questions, server, state, words):
    asking = await begin(questions, server, permission())
    questions.settle({"questionId": "question-1", "state": state})
    assert words in (await asking).refusal


async def test_a_refused_question_is_a_refusal_in_the_servers_words(questions, server):
    server.trouble = [CallError("1000 questions is the limit", {"code": "BAD_REQUEST"})]
    decision = await questions.ask(permission())
    assert not decision.allows
    assert "1000 questions is the limit" in decision.refusal


async def test_a_lost_lease_ends_the_wait(questions, server):
    server.trouble = [CallError("lost", {"code": "CONFLICT", "reason": "lease_lost"})]
    with pytest.raises(LeaseLost):
        await questions.ask(permission())
    assert not questions.are_open


def nested(levels):
    value = "x"
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"command": "ls"}, {"command": "ls"}),
        (None, None),
        ({"a": "\0"}, '{"a":"\\u0000"}'),
        (nested(100), nested(100)),
        (nested(300), "(the input cannot be shown)"),
        (2**70, "(the input cannot be shown)"),
    ],
)
async def test_an_input_of_any_kind_is_shown_or_said_to_be_unfit(questions, server, value, expected):
    (await begin(questions, server, permission(value=value))).cancel()
    assert server.asked[0]["input"] == expected


async def test_a_long_input_is_cut_and_says_so(questions, server):
    (await begin(questions, server, permission(value={"command": "é" * 2**20}))).cancel()
    shown = server.asked[0]["input"]
    assert shown.startswith('{"command":"éé')
    assert shown.endswith(f"(cut: the whole input has {2 * 2**20 + 14} bytes)")
    assert len(shown.encode()) < INPUT_BYTES + 100


@pytest.mark.parametrize(
    ("tool", "shown"),
    [("Bash", "Bash"), ("a\x1b[2Jb\r\n", "a�[2Jb��"), ("evil\u202ehsaB", "evil�hsaB"), ("", "?"), ("\0", "\\x00")],
)
async def test_a_tool_cannot_be_named_like_another(questions, server, tool, shown):
    (await begin(questions, server, permission(tool=tool))).cancel()
    assert server.asked[0]["tool"] == shown


async def test_a_long_name_of_a_tool_is_cut(questions, server):
    (await begin(questions, server, permission(tool="x" * 10**6))).cancel()
    assert len(server.asked[0]["tool"]) < 200
    assert "…" in server.asked[0]["tool"]


async def test_a_wait_is_long_once_one_question_has_been_open_for_that_time(questions, server):
    waiting = asyncio.create_task(questions.outlast(0))
    asking = await begin(questions, server, permission())
    async with asyncio.timeout(60):
        await waiting
    questions.settle(server.answer(choice="allow"))
    assert (await asking).allows
    longer = asyncio.create_task(questions.outlast(0))
    await asyncio.sleep(0)
    assert not longer.done()  # no question is open any more
    longer.cancel()


async def test_an_answer_that_comes_after_the_hold_is_left_to_the_next_attempt(questions, server):
    asking = await begin(questions, server, permission())
    sending = asyncio.create_task(questions.run())
    questions.hold()
    questions.settle(server.answer(choice="allow"))
    for _ in range(10):  # steps of the event loop, of which an answer or an acknowledgement takes a few
        await asyncio.sleep(0)
    assert server.acknowledged == []
    assert not asking.done()
    asking.cancel()
    questions.close()
    await sending
