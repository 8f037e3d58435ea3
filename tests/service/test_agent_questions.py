"""What a worker asks for its agent, called step by step: the fence, the form, and how the answer comes back."""

import asyncio

import pytest
from support.procedures import Real

from app.procedures import agent_questions
from app.procedures.questions import JOB_QUESTIONS

FENCE = {"workerId": "w1", "jobId": "task-1/0", "attempt": 1}
BASH = {"key": "k", "kind": "permission", "text": "may I?", "tool": "Bash", "input": {"command": "ls"}}


@pytest.fixture
def real(dsn):
    """A replica with a running job of an agent."""
    made = Real(dsn, poll_seconds=0.02)
    try:
        made.call("tasks.create", prompt="p", agent="codex", workspace={})
        made.session = made.call("workers.register", workerId="w1", capabilities=["codex"], instance="i").session
        assert made.call("workers.claim", workerId="w1", session=made.session).jobs
        yield made
    finally:
        made.close()


def ask(real, **values):
    return real.call("workers.ask", **FENCE, **BASH | values)


def answer(real, question, choice="allow", **values):
    return real.call("questions.answer", questionId=question.question_id, choice=choice, **values)


def command(real, **values):
    """Return the first command that a new stream brings."""
    return real.call("workers.commands", workerId="w1", session=real.session, **values).data


def test_a_permission_is_a_question_with_its_tool_and_two_options(real):
    question = ask(real)
    assert (question.kind, question.tool, question.input) == ("permission", "Bash", {"command": "ls"})
    assert [option.id for option in question.options] == ["allow", "deny"]
    assert ask(real) == question
    (listed,) = real.call("questions.list").items
    assert listed == question


def test_an_answer_is_brought_by_each_stream_until_it_is_acknowledged(real):
    question = ask(real)
    answered = answer(real, question, "deny", text="not now")
    for _ in range(2):
        told = command(real)
        assert (told.type, told.job_id, told.attempt, told.question) == ("answer", "task-1/0", 1, answered)
    other = ask(real, key="other")
    answer(real, other)
    acknowledged = real.call("workers.delivered", **FENCE, questionIds=[question.question_id, "question-99", "x"])
    assert acknowledged.question_ids == [question.question_id, "question-99", "x"]
    assert command(real).question.question_id == other.question_id


def test_a_worker_of_the_release_0_1_gets_an_answer_only_if_it_says_so(real):
    answer(real, ask(real))
    real.sql("update ado.workers set draining = true")
    assert command(real, answers=False).type == "drain"
    real.sql("update ado.workers set draining = false, version = '0.1.0'")
    assert command(real, answers=True).type == "answer"
    real.sql("update ado.workers set draining = true")
    assert command(real).type == "drain"


def test_an_answer_reaches_the_stream_that_waits_without_a_hint(real):
    question = ask(real)
    procedure = real.procedures["workers.commands"]
    wish = {"workerId": "w1", "session": real.session}

    async def both():
        stream = procedure.handler(real.context, *procedure.decode(wish))
        waiting = asyncio.ensure_future(anext(stream))
        hub, poll = real.context.services.hub, real.context.services.command_poll
        async with asyncio.timeout(60):
            while not hub.anybody_for("w"):
                await asyncio.sleep(0.01)
            await real.db._pool.fetch(
                "update ado.questions set state = 'answered', choice = 'allow', answered_at = now()"
            )
            while not waiting.done():
                await poll.step()
                await asyncio.sleep(0.01)
        told = waiting.result().data
        await stream.aclose()
        return told

    assert real.run(both()).question.question_id == question.question_id


def test_a_remembered_answer_is_returned_at_once(real):
    answer(real, ask(real), remember="task")
    found = ask(real, key="again", input={"command": "rm"})
    assert (found.state, found.answer.choice, found.remember) == ("answered", "allow", "task")
    assert len(real.call("questions.list", state="all").items) == 1


def test_only_an_answer_about_a_tool_can_be_remembered(real):
    text = ask(real, key="t", kind="text", tool=None, input=None)
    nameless = ask(real, key="n", tool=None)
    assert real.call("questions.answer", questionId=text.question_id, text="x", remember="task") == "invalid_input"
    assert answer(real, nameless, remember="task") == "invalid_input"


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"attempt": 2}, "lease_lost"),
        ({"workerId": "w2"}, "lease_lost"),
        ({"jobId": "task-1/9"}, "no_such_job"),
        ({"jobId": "task-9/0"}, "no_such_job"),
    ],
)
def test_a_worker_that_does_not_hold_the_attempt_is_refused(real, wrong, reason):
    assert real.call("workers.ask", **FENCE | BASH | wrong) == reason
    assert real.call("workers.delivered", **FENCE | wrong, questionIds=["question-1"]) == reason


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "other"},
        {"kind": "choice"},
        {"kind": "text", "options": ["a"]},
        {"tool": ""},
        {"tool": "a\0"},
        {"tool": "x" * 201},
        {"input": {"a": "\0"}},
        {"input": "x" * agent_questions.INPUT_BYTES},
        {"default": "allow"},
        {"default": "x", "timeoutSeconds": 1},
        {"key": ""},
        {"text": ""},
    ],
)
def test_a_malformed_question_is_refused(real, wrong):
    assert real.call("workers.ask", **FENCE | BASH | wrong) in ("invalid_input", "limit_exceeded")
    assert real.sql("select from ado.questions") == []


def test_a_job_asks_a_bounded_number(real):
    real.sql(
        """insert into ado.questions (task_id, job, attempt, key, kind, text, options)
           select 1, 0, 1, n::text, 'text', '?', '[]' from generate_series(1, $1) n""",
        JOB_QUESTIONS - 1,
    )
    assert ask(real).state == "open"
    assert ask(real, key="one more") == "limit_exceeded"
    assert ask(real).state == "open"


def test_an_ended_job_takes_no_answer_and_no_question(real):
    question = ask(real)
    assert real.call("workers.finish", **FENCE, outcome="succeeded").status == "succeeded"
    assert answer(real, question) == "question_closed"
    assert ask(real) == "lease_lost"
    assert real.call("workers.delivered", **FENCE, questionIds=[question.question_id]) == "lease_lost"
