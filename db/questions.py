"""Typed functions over ``sql/queries/questions.sql``: what jobs ask people."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import orjson

from db import paging
from db.actor import Actor, parameter
from db.database import Database
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

    @classmethod
    def of(cls, row: Any) -> QuestionRow:
        """Make the record of a row."""
        members = {name: row[name] for name in cls.__slots__ if name != "options"}
        return cls(**members, options=orjson.loads(row["options"]))


async def ask(db: Database, new: NewQuestion, job_limit: int) -> QuestionRow | None:
    """Store a question once; None: the attempt does not run, or its job has asked too many."""
    row = await db.optional(
        "ask_question",
        task_id=new.task_id,
        job=new.job,
        attempt=new.attempt,
        key=new.key,
        kind=new.kind,
        text=new.text,
        options=orjson.dumps(new.options).decode(),
        default_answer=new.default_answer,
        timeout_seconds=new.timeout_seconds,
        job_limit=job_limit,
    )
    row = row or await db.optional("find_question", task_id=new.task_id, job=new.job, attempt=new.attempt, key=new.key)
    return QuestionRow.of(row) if row else None


async def get(db: Database, question_id: int) -> QuestionRow | None:
    """Return a question; None for an unknown one."""
    row = await db.optional("get_question", question_id=question_id)
    return QuestionRow.of(row) if row else None


async def answer(
    db: Database, question_id: int, *, choice: str | None, text: str | None, actor: Actor | None
) -> QuestionRow | None:
    """Store the first answer of an open question; None: it is not open, or no longer."""
    row = await db.optional(
        "answer_question", question_id=question_id, choice=choice, answer=text, actor=parameter(actor)
    )
    return QuestionRow.of(row) if row else None


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
