"""Typed functions over ``sql/queries/questions.sql``: what jobs ask people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import orjson

from db import paging
from db.actor import Actor, parameter
from db.database import Database
from db.model import HeldAttempt, json_of, parameters_of, record_of
from db.paging import PageLimit

QuestionKind = Literal["permission", "choice", "text", "budget"]
QuestionState = Literal["open", "answered", "expired", "closed"]


@dataclass(frozen=True, slots=True)
class NewQuestion:
    """A question of an attempt; ``options`` are objects with ``id`` and ``label``."""

    task_id: int
    job: int
    attempt: int
    key: str
    kind: QuestionKind
    text: str
    options: list[dict[str, str]]
    default_answer: str | None
    timeout_seconds: float | None
    tool: str | None = None
    """The tool that an agent asks to use."""
    input: Any = None
    """What the tool would be called with, as JSON."""


@dataclass(frozen=True, slots=True)
class QuestionRow:
    """One question, with its answer if it has one."""

    question_id: int
    task_id: int
    job: int
    attempt: int
    kind: QuestionKind
    text: str
    options: list[dict[str, str]]
    default_answer: str | None
    expires_at: datetime | None
    state: QuestionState
    choice: str | None
    answer: str | None
    answered_by: str | None
    created_at: datetime
    answered_at: datetime | None
    tool: str | None
    input: Any
    remembered: bool
    """Whether the answer counts for each later request for the tool in the task."""

    @classmethod
    def of(cls, row: Any) -> QuestionRow:
        """Make the record of a row."""
        return record_of(cls, row, options=json_of(row["options"]), input=json_of(row["input"]))


async def ask(db: Database, new: NewQuestion, job_limit: int, asker: HeldAttempt | None = None) -> QuestionRow | None:
    """Store a question once; None: the fence refused it, or its job has asked too many.

    If an answer to the same request is remembered, nothing is stored, and the question with that answer is returned.
    """
    new_input = None if new.input is None else orjson.dumps(new.input).decode()
    asked = parameters_of(new, options=orjson.dumps(new.options).decode(), input=new_input)
    writer = {"worker_id": asker and asker.worker_id, "credential": asker and asker.credential}
    row = await db.optional("ask_question", **asked, **writer, job_limit=job_limit)
    if row is None:
        same = {name: value for name, value in asked.items() if name not in ("default_answer", "timeout_seconds")}
        row = await db.optional("find_question", **same)
    return QuestionRow.of(row) if row else None


async def get(db: Database, question_id: int) -> QuestionRow | None:
    """Return a question; None for an unknown one."""
    row = await db.optional("get_question", question_id=question_id)
    return QuestionRow.of(row) if row else None


async def answer(
    db: Database,
    question_id: int,
    *,
    choice: str | None,
    text: str | None,
    actor: Actor | None,
    remember: bool = False,
) -> QuestionRow | None:
    """Store the first answer of an open question, which may queue its job; None: it is not open, or no longer.

    With ``remember`` it also answers the task's other open requests for the same tool.
    """
    rows = await db.many(
        "answer_question",
        question_id=question_id,
        choice=choice,
        answer=text,
        actor=parameter(actor),
        remember=remember,
    )
    if rows:
        await resume_answered(db)
    return next((QuestionRow.of(row) for row in rows if row["question_id"] == question_id), None)


async def ended(db: Database, worker_id: str) -> list[QuestionRow]:
    """Return the questions of a worker's running attempts that are no longer open, and that it still waits for."""
    return [QuestionRow.of(row) for row in await db.many("ended_questions", worker_id=worker_id)]


async def acknowledge(db: Database, asker: HeldAttempt, question_ids: Sequence[int]) -> bool:
    """Note that the worker knows how questions ended; False if the fence refused it."""
    row = await db.optional("acknowledge_answers", **parameters_of(asker, question_ids=question_ids))
    return row is not None


async def page(
    db: Database,
    *,
    state: QuestionState | None,
    task_id: int | None,
    creator: str | None,
    after: int,
    limit: PageLimit,
) -> tuple[list[QuestionRow], bool]:
    """Return questions by number after ``after``, and whether more follow."""
    rows = await db.many(
        "list_questions",
        state=state,
        task_id=task_id,
        creator=creator,
        after=after,
        row_limit=limit.rows,
        byte_limit=limit.bytes,
    )
    return [QuestionRow.of(row) for row in rows], paging.more(rows)


async def close(db: Database) -> int:
    """End questions whose time is over or whose attempt has ended; return how many."""
    return len(await db.many("close_questions"))


async def resume_answered(db: Database) -> int:
    """Queue the jobs that were paused for questions which have all ended; return how many."""
    return len(await db.many("resume_answered_jobs"))
