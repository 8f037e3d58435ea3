"""When questions are read, which key or line answers one on the terminal, and what the prompt says."""

import asyncio

import pytest

from app.rpc.client import CallError
from cli.remote import inline_questions
from cli.remote.inline_questions import InlineQuestions, answer_of, prompt_of


def question(*ids):
    return {"questionId": "question-7", "options": [{"id": name, "label": name.upper()} for name in ids]}


PERMISSION = question("allow", "deny")
MANY = question(*(f"o{number}" for number in range(10)))


@pytest.mark.parametrize(
    ("asked", "typed", "answer"),
    [
        (PERMISSION, "a", {"choice": "allow", "remember": "no"}),
        (PERMISSION, "A", {"choice": "allow", "remember": "task"}),
        (PERMISSION, "d", {"choice": "deny", "remember": "no"}),
        (PERMISSION, "D", None),
        (PERMISSION, "\x1b", None),
        (question("red", "blue"), "2", {"choice": "blue"}),
        (question("red", "blue"), "3", None),
        (question("red", "blue"), "0", None),
        (MANY, "o9\n", {"choice": "o9"}),
        (MANY, "9\n", None),
        (question(), "any words\n", {"text": "any words"}),
        (question(), "\n", None),
        (question(), "", None),
    ],
)
def test_a_key_or_a_line_is_an_answer_or_nothing(asked, typed, answer):
    assert answer_of(asked, typed) == answer


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (PERMISSION, "press a to allow, A to allow this tool for the rest of the task, d to deny"),
        (question("red", "blue"), "press 1 for RED, 2 for BLUE"),
        (MANY, "type one of these and press Enter: o0, o1"),
        (question(), "type the answer and press Enter"),
    ],
)
def test_the_prompt_says_how_to_answer(asked, words):
    assert f"question-7: {words}" in prompt_of(asked)


class Client:
    """Refuses the first call, and has no questions."""

    def __init__(self):
        self.refused, self.answered = 0, asyncio.Event()

    async def query(self, *_):
        if not self.refused:
            self.refused += 1
            raise CallError("the database cannot be reached at the moment", {"code": "SERVICE_UNAVAILABLE"})
        self.answered.set()
        return {"items": []}


async def test_the_questions_are_read_again_after_an_error_though_no_event_follows(monkeypatch):
    monkeypatch.setattr(inline_questions, "_AGAIN_SECONDS", 0.01)
    client = Client()
    asking = asyncio.create_task(InlineQuestions("task-1", None, print).run(client))
    await asyncio.wait_for(client.answered.wait(), 60)
    asking.cancel()
    assert client.refused == 1


async def test_the_questions_are_read_again_once_after_many_errors_and_never_after_one_that_stays():
    class Refusing:
        async def query(self, *_):
            raise CallError("not now", {"code": code})

    questions = InlineQuestions("task-1", None, print)
    code = "FORBIDDEN"
    await questions._first(Refusing())
    assert questions._later is None
    code, timers = "SERVICE_UNAVAILABLE", []
    for _ in range(3):
        await questions._first(Refusing())
        timers.append(questions._later)
    assert [timer.cancelled() for timer in timers] == [True, True, False]
    timers[-1].cancel()


@pytest.mark.parametrize(("code", "is_asked_again"), [("SERVICE_UNAVAILABLE", True), ("CONFLICT", False)])
async def test_a_question_is_asked_again_if_its_answer_failed_for_the_moment(code, is_asked_again):
    class Refusing:
        async def mutate(self, *_, **__):
            raise CallError("not now", {"code": code})

        async def query(self, *_):
            return {"items": [{**PERMISSION, "job": 0}]}

    said = []
    questions = InlineQuestions("task-1", None, said.append)
    await questions._give(Refusing(), "question-7", {"choice": "allow"})
    assert said == ["ado: not now"]
    assert (await questions._first(Refusing()) is not None) == is_asked_again
