"""``ado ask``, ``inbox``, ``answer``, ``approve`` and ``deny``: what a job needs a person to decide.

``ado ask`` runs inside a job. Its calls are repeated for ever, because a job outlives an outage of the server. A
question's key makes sure that it is asked once.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

from app.rpc.client import CallError, HttpClient
from cli import exits
from cli.agents import agents_of
from cli.declarations import Parameter
from cli.errors import CliError, usage
from cli.job_socket import connect
from cli.option_values import seconds_of
from cli.output import table, talk, write_items, write_line, write_lines, write_one, write_text
from cli.parameters import AnyText
from cli.remote.connection import NO_OPTIONS, ServerOptions, choose, http
from cli.remote.last_look import newly_ended, remember
from cli.remote.listing import whole
from cli.remote.retry import until_answered
from cli.render.ages import ago
from cli.render.questions import answer_command
from cli.render.terminal import is_terminal
from cli.render.visible import first_line

_WAIT_SECONDS = 20.0  # shorter than a client's time limit for an answer
_WATCH_SECONDS = 1.0
_SOCKET = "ADO_ASK_SOCKET"
_SOCKET_SECONDS = 5.0

QuestionArgument = Annotated[str, Parameter(help="Its id: ado inbox lists the questions.")]
Always = Annotated[bool, Parameter(negative="", help="Give the same answer for this tool for the rest of the task.")]


def ask(
    text: AnyText,
    /,
    *,
    option: Annotated[list[str] | None, Parameter(negative="")] = None,
    default: str | None = None,
    timeout: str | None = None,
    key: str | None = None,
    options: ServerOptions = NO_OPTIONS,
) -> None:
    """Inside a job, ask a person, wait, and print the answer; the exit code is 124 when nobody answered in time.

    Parameters
    ----------
    text
        The question.
    option
        An answer to choose; give several. Without it any text is an answer.
    default
        The answer once the time is over.
    timeout
        How long to wait: 2h, 10m, 30s; otherwise for ever.
    key
        The same key in the same attempt is the same question.
    """
    if not os.environ.get("ADO_JOB_ID"):
        raise usage("only a job asks", "call it in a job's script: ado run --remote --agent shell 'ado ask …'")
    members: dict[str, Any] = {"key": key or str(uuid.uuid4()), "text": text, "options": option or []}
    if default is not None:
        members["default"] = default
    if timeout is not None:
        members["timeoutSeconds"] = seconds_of(timeout)
    client = http(choose(options))
    question = until_answered(lambda: client.mutate("tasks.ask", members), for_ever=True)
    with _known_to_worker(question["questionId"]):
        question = _wait(client, question)
    if options.output == "text":
        write_text(_words(question["answer"]))
    else:
        write_one(question, options.output, "questionId")


@contextlib.contextmanager
def _known_to_worker(question: str) -> Iterator[None]:
    """Let the worker know that this command waits for a question, so that it can pause the job after a while."""
    with contextlib.ExitStack() as stack:
        if path := os.environ.get(_SOCKET):
            with contextlib.suppress(OSError):  # then the job just keeps its worker
                stack.enter_context(connect(Path(path), _SOCKET_SECONDS)).sendall(f"{question}\n".encode())
        yield


def _wait(client: HttpClient, question: dict[str, Any]) -> dict[str, Any]:
    """Return a question once it has an answer. Raises CliError when it ends without one."""
    wait = {"questionId": question["questionId"], "waitSeconds": _WAIT_SECONDS}
    while question["state"] == "open":
        question = until_answered(lambda: client.query("tasks.answer", wait), for_ever=True)
    if question.get("answer") is None:
        is_late = question["state"] == "expired"
        raise CliError(
            f"{question['questionId']} was not answered in time" if is_late else "the attempt that asked has ended",
            "give it a --default, or a longer --timeout" if is_late else "nothing: the job runs again or has ended",
            exits.TIMED_OUT if is_late else exits.FAILED,
            "timed_out" if is_late else "question_closed",
        )
    return question


def inbox(*, task: str | None = None, watch: bool = False, options: ServerOptions = NO_OPTIONS) -> None:
    """List the questions that wait for an answer, then your tasks that ended since you last looked.

    Parameters
    ----------
    task
        Only those of this task.
    watch
        Show them again every second.
    """
    server = choose(options)
    client = http(server)
    while True:
        items = whole(client, "questions.list", {"taskId": task} if task else {})["items"]
        ended = [] if task else newly_ended(client, server.urls)
        if watch and options.output == "text" and is_terminal(sys.stdout):
            print("\x1b[H\x1b[2J", end="")
        if options.output == "text":
            _show_inbox(items, ended)
        else:
            write_items({"items": items, "ended": ended}, options.output, "questionId", [])
        if not watch:
            if options.output == "text":
                remember(server.urls, ended)
            return
        time.sleep(_WATCH_SECONDS)


def _show_inbox(questions: list[dict[str, Any]], ended: list[dict[str, Any]]) -> None:
    if questions:
        rows = [["question", "job", "asked", "text", "answer with"], *(_row(question) for question in questions)]
        write_lines(table(rows))
    else:
        write_line("no job waits for an answer")
    if ended:
        rows = [["task", "ended", "status", "prompt", "next"]]
        for item in ended:
            prompt, when = first_line(item["prompt"]), ago(item["finishedAt"])
            rows.append([item["taskId"], when, item["status"], prompt, _next_step(item)])
        write_lines(table(rows))


def _next_step(task: dict[str, Any]) -> str:
    """Return the command to look at a task that has ended."""
    name = task["taskId"]
    if len(agents_of(task)) > 1:
        return f"ado compare {name}"
    return f"ado tasks show {name}" if task["status"] == "succeeded" else f"ado logs {name} --tail 20"


def answer(
    question: QuestionArgument,
    choice: AnyText | None = None,
    /,
    *,
    text: AnyText | None = None,
    always: Always = False,
    options: ServerOptions = NO_OPTIONS,
) -> None:
    """Answer a job's question; the first answer stands.

    Parameters
    ----------
    choice
        One of its options, or the answer to a question without options.
    text
        The answer to a question without options, or a reason for the agent.
    """
    if choice is None and text is None:
        raise usage("one answer is needed", "ado answer QUESTION CHOICE, or --text TEXT")
    _give(question, choice, text, always, options)


def approve(question: QuestionArgument, /, *, always: Always = False, options: ServerOptions = NO_OPTIONS) -> None:
    """Allow an agent to use the tool that it asks for."""
    _give(question, "allow", None, always, options)


def deny(
    question: QuestionArgument,
    /,
    *,
    reason: AnyText | None = None,
    always: Always = False,
    options: ServerOptions = NO_OPTIONS,
) -> None:
    """Refuse an agent the tool that it asks for; the agent goes on without it.

    Parameters
    ----------
    reason
        Words for the agent; claude-code reads them.
    """
    _give(question, "deny", reason, always, options)


def _give(question: str, choice: str | None, text: str | None, always: bool, options: ServerOptions) -> None:
    answered = _answer(http(choose(options)), question, choice, text, always)
    if options.output == "text":
        kept = ", for the rest of the task" if always else ""
        talk(f"ado: {answered['questionId']} of {answered['taskId']} is answered{kept}: {_words(answered['answer'])}")
    else:
        write_one(answered, options.output, "questionId")


def _answer(client: HttpClient, question: str, choice: str | None, text: str | None, always: bool) -> dict[str, Any]:
    """Send the answer. A choice counts as a text where the question has no options."""

    def send(**members: str | None) -> Callable[[], Any]:
        value = {"questionId": question, **{name: value for name, value in members.items() if value is not None}}
        return lambda: client.mutate("questions.answer", value | ({"remember": "task"} if always else {}))

    try:
        answered: dict[str, Any] = until_answered(send(choice=choice, text=text))
    except CallError as error:
        if choice is None or text is not None or error.data.get("field") != "text":
            raise
        answered = until_answered(send(text=choice))
    return answered


def _words(answer: dict[str, Any]) -> str:
    choice = answer.get("choice")
    return str(answer.get("text") if choice is None else choice)


def _row(question: dict[str, Any]) -> list[str]:
    job = f"{question['taskId']}/{question['job']}"
    return [question["questionId"], job, ago(question["createdAt"]), question["text"], answer_command(question)]
