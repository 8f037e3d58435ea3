"""The procedure ``workers.commands``: what a worker must do at once, by one stream for all of its jobs.

Authority: the tables; a command is open until they say otherwise, and a new stream begins with all open ones. Hints:
``w:WORKER`` wakes the stream, which then reads the tables. A worker that gets no command learns of a cancel from its
next heartbeat, so too of a pause, of a message when its agent's turn ends, and of an answer when it asks again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Literal

from app.access.auth import WORK
from app.access.context import Context
from app.procedures.checks.fences import WorkerId
from app.procedures.messages import Words
from app.procedures.questions import Question
from app.procedures.worker_protocol import knows_release_0_2, registered_worker
from app.rpc.server.procedure import Tracked, subscription
from app.shapes.records import Wire, attempt_ref
from db import jobs, messages, questions
from db.model import AttemptKey, JobCommand
from db.workers import RegisteredWorker

_LONGEST_WAIT = 20.0


class SessionInput(Wire):
    """A registered process. With false for ``messages`` or ``answers`` it gets no commands of that type."""

    worker_id: WorkerId
    session: str
    messages: bool | None = None
    answers: bool | None = None
    last_event_id: str | None = None


class Command(Wire):
    """What a worker must do: cancel or pause a job, forget a lost one, give its agent words or an answer, or drain."""

    type: Literal["cancel", "pause", "lost", "drain", "message", "answer"]
    job_id: str | None = None
    attempt: int | None = None
    message: Words | None = None
    question: Question | None = None
    """A question of the agent that is no longer open."""


@subscription(access=WORK)
async def commands(context: Context, input: SessionInput) -> AsyncIterator[Tracked[Command]]:
    """Send a worker its commands: open ones first, then each new one. A heartbeat's answer has the same.

    What the worker is known to hold is read before the attempts that are held now: otherwise an attempt that was
    claimed in between would look lost.
    """
    sent: set[str] = set()
    services, worker_id = context.services, input.worker_id
    with services.hub.waiting(("w", worker_id)) as hint, services.command_poll.following(worker_id) as known:
        while True:
            before = set(known)
            worker = await registered_worker(context, worker_id, input.session)
            held = await jobs.held(context.db, worker_id)
            gone = before - held.keys()
            lost = [key for key in gone if not await _was_finished(context, key)]
            for name, command in _open_commands(worker, held, lost):
                if name not in sent:
                    sent.add(name)
                    yield Tracked(name, command)
            async for name, command in _words(context, input, worker, sent):
                sent.add(name)
                yield Tracked(name, command)
            known.difference_update(gone)
            known.update(held)
            await hint.wait(_LONGEST_WAIT)


async def _was_finished(context: Context, key: AttemptKey) -> bool:
    """Whether an attempt is no longer held because its worker closed it. Then it was not lost."""
    job = await jobs.get(context.db, key[0], key[1])
    return job is not None and job.finished_attempt == key[2]


def _open_commands(
    worker: RegisteredWorker, held: dict[AttemptKey, JobCommand | None], lost: list[AttemptKey]
) -> list[tuple[str, Command]]:
    """Return the commands that are open now, each with its name."""
    commands = [_command(command, key) for key, command in held.items() if command]
    commands += [_command("lost", key) for key in lost]
    if worker.draining:
        commands.append(("drain", Command(type="drain")))
    return commands


def _takes(wish: bool | None, worker: RegisteredWorker) -> bool:
    """Return whether a worker gets commands of a type; unless it says so itself, its release decides.

    Workers of release 0.1 take a command that they do not know for the loss of the job, and stop its agent.
    """
    return knows_release_0_2(worker.version) if wish is None else wish


async def _words(
    context: Context, input: SessionInput, worker: RegisteredWorker, sent: set[str]
) -> AsyncIterator[tuple[str, Command]]:
    """Yield a command for each message and answer that a worker's agents have not got and that was not sent yet."""
    for number, key in await messages.waiting(context.db, input.worker_id) if _takes(input.messages, worker) else ():
        ref = attempt_ref(key)
        name = f"message:{number}:{ref.job_id}:{ref.attempt}"
        if name not in sent and (text := await messages.text(context.db, number)) is not None:
            words = Words(message_id=f"message-{number}", text=text)
            yield name, Command(type="message", job_id=ref.job_id, attempt=ref.attempt, message=words)
    for row in await questions.ended(context.db, input.worker_id) if _takes(input.answers, worker) else ():
        ref = attempt_ref((row.task_id, row.job, row.attempt))
        name = f"answer:{row.question_id}"
        if name not in sent:
            yield name, Command(type="answer", job_id=ref.job_id, attempt=ref.attempt, question=Question.of(row))


def _command(kind: Literal["cancel", "pause", "lost"], key: AttemptKey) -> tuple[str, Command]:
    ref = attempt_ref(key)
    return f"{kind}:{ref.job_id}:{ref.attempt}", Command(type=kind, job_id=ref.job_id, attempt=ref.attempt)
