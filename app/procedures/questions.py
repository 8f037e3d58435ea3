"""The procedures ``tasks.ask``, ``tasks.answer`` and ``questions.*``: what a job needs a person to decide.

A worker asks for its agent by ``workers.ask``, see ``app.procedures.agent_questions``.

States: open, then answered by a person, expired (its time is over; a default then counts as the answer) or closed (the
attempt that asked has ended). The first of these stands.
Authority: the asking attempt's token, and the answering caller's right to change the task. The clock is the database's.
Hints: ``a:QUESTION`` wakes the asker's long poll; one that misses it reads the table after a poll interval.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta

from app.access.auth import ASK, READ, RUN_TASKS
from app.access.context import Context
from app.client import models
from app.core.reasons import refusal
from app.procedures.checks import paging
from app.procedures.checks.arguments import check_json_limit, refuse_nul
from app.procedures.checks.ids import PublicId, parse_task
from app.procedures.checks.ownership import check_may_change, check_may_see, only_creator
from app.procedures.checks.paging import Page
from app.rpc.errors import ProcedureError
from app.rpc.server.procedure import mutation, query
from app.shapes.records import RecordShape, Wire, job_id
from db import questions
from db.model import AttemptKey
from db.questions import NewQuestion, QuestionKind, QuestionState

TEXT_CHARS = 16_000
OPTIONS_BYTES = 16 * 1024
JOB_QUESTIONS = 1000
"""The most questions of a job: its log has each of them."""
_LONGEST_WAIT = 60.0
_ID = PublicId("question", "question")

Text = Annotated[str, Meta(min_length=1, max_length=TEXT_CHARS)]
OptionId = Annotated[str, Meta(min_length=1, max_length=200)]


class QuestionOption(Wire, omit_defaults=False):
    """One option: its id, which is the answer, and what a person reads."""

    id: OptionId
    label: Annotated[str, Meta(min_length=1, max_length=1000)]


class Answer(models.Answer, RecordShape, frozen=True, kw_only=True):
    """The answer: the id of an option, or a text."""


class Question(models.Question, RecordShape, frozen=True, kw_only=True):
    """A question of a job. ``answer`` is absent while it is open, and when it ended without one."""

    kind: QuestionKind
    options: list[QuestionOption]  # type: ignore[assignment]
    state: QuestionState
    answer: Answer | None = None
    remember: Literal["task"] | None = None

    @classmethod
    def of(cls, question: questions.QuestionRow) -> Question:
        """Make the shape of a record."""
        answer = Answer(choice=question.choice, text=question.answer)
        return cls.from_record(
            question,
            question_id=f"question-{question.question_id}",
            task_id=f"task-{question.task_id}",
            options=[QuestionOption(**option) for option in question.options],
            default=question.default_answer,
            answer=None if answer == Answer() else answer,
            by=question.answered_by,
            remember="task" if question.remembered else None,
        )


class AskInput(Wire, kw_only=True):
    """A question of the calling job. Without ``options`` any text is an answer.

    An option is a text, or an object with ``id`` and ``label``. ``default`` is the id of an option, or a text. It is
    the answer once ``timeoutSeconds`` are over. The same ``key`` in the same attempt is the same question.
    """

    key: Annotated[str, Meta(min_length=1, max_length=200)]
    text: Text
    options: Annotated[list[OptionId | QuestionOption], Meta(max_length=50)] = []
    default: Annotated[str, Meta(min_length=1, max_length=TEXT_CHARS)] | None = None
    timeout_seconds: Annotated[float, Meta(gt=0, le=366 * 24 * 3600)] | None = None


class AnswerWaitInput(Wire):
    """A question of the calling job, and how long to wait until it is no longer open."""

    question_id: str
    wait_seconds: Annotated[float, Meta(ge=0, le=_LONGEST_WAIT)] = 0


class QuestionListInput(Wire):
    """Which questions to list: those of a state, and of a task."""

    state: QuestionState | Literal["all"] = "open"
    task_id: str | None = None
    limit: paging.Limit = 100
    cursor: paging.Cursor | None = None


class QuestionPage(Page[Question]):
    """A page of questions; ``nextCursor`` is absent on the last one."""


class QuestionAnswerInput(Wire):
    """An answer: ``choice`` is the id of an option. A question without options takes a ``text``.

    The answer to a permission may also have a ``text``, which the agent gets. With ``remember: task`` the answer
    counts for each request for the same tool in the task.
    """

    question_id: str
    choice: OptionId | None = None
    text: Text | None = None
    remember: Literal["no", "task"] = "no"


@mutation(access=ASK)
async def ask(context: Context, input: AskInput) -> Question:
    """Ask a person; the answer comes by ``tasks.answer``."""
    options = question_options(input)
    caller = context.caller
    if caller.task_id is None or caller.job is None or caller.attempt is None:
        raise refusal("forbidden", "only a job asks", hint="call it with the token of a job: ADO_TOKEN inside it")
    key = (caller.task_id, caller.job, caller.attempt)
    new = new_question(key, "choice" if options else "text", options, input)
    stored = await questions.ask(context.db, new, JOB_QUESTIONS)
    if stored is None:
        raise too_many(new)
    return Question.of(stored)


def new_question(
    attempt: AttemptKey, kind: QuestionKind, options: list[dict[str, str]], input: AskInput
) -> NewQuestion:
    """Return a question of an attempt as it is stored."""
    return NewQuestion(*attempt, input.key, kind, input.text, options, input.default, input.timeout_seconds)


def too_many(new: NewQuestion) -> ProcedureError:
    """Make the error for a question that was not stored."""
    text = f"{job_id(new.task_id, new.job)} has ended, or has asked {JOB_QUESTIONS} questions, which is the limit"
    return refusal("limit_exceeded", text, limit=JOB_QUESTIONS)


def question_options(input: AskInput) -> list[dict[str, str]]:
    """Return the options of a question, each with id and label. Raises BAD_REQUEST for a question that cannot be."""
    options = [{"id": o, "label": o} if isinstance(o, str) else {"id": o.id, "label": o.label} for o in input.options]
    ids = [option["id"] for option in options]
    refuse_nul(key=input.key, text=input.text, default=input.default, options=ids)
    if len(set(ids)) < len(ids):
        raise refusal("invalid_input", "options: two of them are the same", field="options")
    if ids and input.default is not None and input.default not in ids:
        raise refusal("invalid_input", f"default: it must be one of {', '.join(ids)}", field="default")
    if input.default is not None and input.timeout_seconds is None:
        raise refusal("invalid_input", "default: it counts only with timeoutSeconds", field="default")
    check_json_limit("options", options, OPTIONS_BYTES)
    return options


@query(access=ASK)
async def answer(context: Context, input: AnswerWaitInput) -> Question:
    """Return a question of the calling job once it is no longer open, or when the time to wait is over."""
    number = _ID.parse(input.question_id)
    end = time.monotonic() + input.wait_seconds
    with context.services.hub.waiting(("a", str(number))) as hint:
        while True:
            question = await questions.get(context.db, number)
            if question is None or question.task_id != context.caller.task_id:
                raise _ID.unknown(input.question_id)
            left = end - time.monotonic()
            if question.state != "open" or left <= 0:
                return Question.of(question)
            expires_in = left
            if question.expires_at is not None:
                # By this replica's clock. Where it is ahead, the statement closes nothing yet, and the loop goes on.
                expires_in = (question.expires_at - datetime.now(UTC)).total_seconds()
            if expires_in <= 0 and await questions.close(context.db):
                continue
            await hint.wait(min(left, max(expires_in, 0.1), context.services.settings.poll_seconds))


@query(access=READ)
async def listing(context: Context, input: QuestionListInput) -> QuestionPage:
    """Return questions, the oldest first."""
    task_id = None if input.task_id is None else parse_task(input.task_id)
    if task_id is not None:
        await check_may_see(context, task_id)
    page, more = await questions.page(
        context.db,
        state=None if input.state == "all" else input.state,
        task_id=task_id,
        creator=only_creator(context),
        after=_ID.parse_cursor(input.cursor),
        limit=paging.page_limit(context, input.limit),
    )
    cursor = paging.next_cursor(more, page[-1].question_id) if page else UNSET
    return QuestionPage(items=[Question.of(item) for item in page], next_cursor=cursor)


@mutation(access=RUN_TASKS)
async def give_answer(context: Context, input: QuestionAnswerInput) -> Question:
    """Answer an open question; the first answer stands. The same answer by the same caller again changes nothing."""
    number = _ID.parse(input.question_id)
    question = await questions.get(context.db, number)
    if question is None:
        raise _ID.unknown(input.question_id)
    try:
        await check_may_change(context, question.task_id)
    except ProcedureError as error:
        raise _ID.unknown(input.question_id) if error.reason == "no_such_task" else error from None
    _check_answer(question, input)
    actor = context.actor("questions.answer")
    stored = await questions.answer(
        context.db,
        number,
        choice=input.choice,
        text=input.text,
        actor=actor,
        remember=input.remember == "task",
    )
    if stored is not None:
        return Question.of(stored)
    question = await questions.get(context.db, number)
    if question is None:
        raise _ID.unknown(input.question_id)
    given = (question.choice, question.answer, question.answered_by)
    if question.state == "answered" and given == (input.choice, input.text, context.caller.account_name):
        return Question.of(question)
    raise _not_open(question)


def _check_answer(question: questions.QuestionRow, input: QuestionAnswerInput) -> None:
    refuse_nul(text=input.text, choice=input.choice)
    ids = [option["id"] for option in question.options]
    if ids and input.choice not in ids:
        step = f"choose one of them: ado answer question-{question.question_id} CHOICE"
        raise refusal("invalid_input", f"choice: it must be one of {', '.join(ids)}", hint=step, field="choice")
    if not ids and (input.text is None or input.choice is not None):
        raise refusal("invalid_input", "text: this question has no options and takes a text", field="text")
    if input.remember == "task" and (question.kind != "permission" or question.tool is None):
        what = "remember: only an answer to an agent that asks to use a tool can be remembered"
        raise refusal("invalid_input", what, field="remember")


def _not_open(question: questions.QuestionRow) -> ProcedureError:
    name = f"question-{question.question_id}"
    if question.state == "answered":
        by = f" by {question.answered_by}" if question.answered_by else ""
        stored = question.answer if question.choice is None else question.choice
        answered = msgspec.to_builtins(Question.of(question).answer)
        return refusal("already_answered", f"{name} was answered{by}: {stored}", answer=answered)
    if question.state == "expired":
        return refusal("question_closed", f"{name} was not answered in time")
    return refusal("question_closed", f"the attempt that asked {name} has ended")
