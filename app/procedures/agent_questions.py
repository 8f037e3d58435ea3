"""The procedure ``workers.ask``: a worker asks a person for its agent, most often whether the agent may use a tool.

The end of the question reaches the worker by ``workers.commands``, repeatedly until ``workers.delivered`` names it.
Authority: the fence of the attempt. The same key in the same attempt is the same question, so the call may be repeated.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from msgspec import Meta

from app.access.auth import REPORT
from app.access.context import Context
from app.core.reasons import refusal
from app.procedures.checks.arguments import check_json_limit, refuse_nul
from app.procedures.checks.fences import Attempt, Secret, WorkerId, fence_error, held_attempt, may_write
from app.procedures.questions import (
    JOB_QUESTIONS,
    AskInput,
    Question,
    QuestionOption,
    new_question,
    question_options,
    too_many,
)
from app.rpc.server.procedure import mutation
from db import jobs, questions
from db.questions import QuestionKind

INPUT_BYTES = 16 * 1024
"""The longest input of a tool as JSON; a worker shortens a longer one."""
_PERMISSION = [QuestionOption(id="allow", label="Allow"), QuestionOption(id="deny", label="Deny")]


class AgentAskInput(AskInput, kw_only=True):
    """A question of the agent of a running attempt. A permission has the options allow and deny by default.

    ``tool`` is the tool that the agent asks to use, and ``input`` what it would be called with.
    """

    worker_id: WorkerId
    job_id: str
    attempt: Attempt
    kind: QuestionKind
    tool: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    input: Any = None
    credential: Secret | None = None


@mutation(access=REPORT)
async def ask(context: Context, input: AgentAskInput) -> Question:
    """Ask a person for an agent. If an answer about this tool is remembered in the task, return that question."""
    asker = held_attempt(context, input.worker_id, input.job_id, input.attempt, input.credential)
    if input.kind == "permission" and not input.options:
        input.options = [*_PERMISSION]
    options = question_options(input)
    if (input.kind == "text" and options) or (input.kind == "choice" and not options):
        what = "a question of the kind text has none" if options else "a choice needs some"
        raise refusal("invalid_input", f"options: {what}", field="options")
    refuse_nul(tool=input.tool, input=input.input)
    check_json_limit("input", input.input, INPUT_BYTES)
    key = (asker.task_id, asker.job, asker.attempt)
    new = replace(new_question(key, input.kind, options, input), tool=input.tool, input=input.input)
    job = await jobs.get(context.db, asker.task_id, asker.job)
    if not may_write(job, asker):
        raise fence_error(job, asker)
    stored = await questions.ask(context.db, new, JOB_QUESTIONS, asker)
    if stored is None:
        raise too_many(new)
    return Question.of(stored)
