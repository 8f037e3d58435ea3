"""What is piped into ``ado run``: whether there is anything, and whether it goes to the job or to the prompt.

A pipe, a socket or a file counts unless it is at its end. A terminal, /dev/null, another device or a closed stdin does
not count, so that commands in cron or CI neither wait nor cost more.
"""

from __future__ import annotations

import fcntl
import os
import select
import stat
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cli import exits
from cli.agents import PROGRAMS
from cli.errors import CliError, usage
from cli.output import talk

if TYPE_CHECKING:
    from app.rpc.client import HttpClient

STDIN = 0
_CHUNK_BYTES = 256 * 1024
_PROMPT_BYTES = 4 * 1024 * 1024
"""Limit of stdin in a prompt. The server's own limit, 1 MiB by default, is smaller."""


def is_piped() -> bool:
    """Whether stdin is a pipe, a socket or a file that is not at its end."""
    if sys.stdin is None:  # closed: another file may have its descriptor
        return False
    try:
        mode = os.fstat(STDIN).st_mode
        if fcntl.fcntl(STDIN, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY:
            return False
        if stat.S_ISREG(mode):
            return os.lseek(STDIN, 0, os.SEEK_CUR) < os.fstat(STDIN).st_size
    except OSError:
        return False
    return (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)) and not _is_at_end()


def _is_at_end() -> bool:
    """Whether the other end of a pipe is closed and nothing is left in it."""
    poll = select.poll()
    poll.register(STDIN, select.POLLIN)
    events = dict(poll.poll(0)).get(STDIN, 0)
    return bool(events & (select.POLLHUP | select.POLLERR | select.POLLNVAL)) and not events & select.POLLIN


def _has_bytes() -> bool:
    """Whether bytes can be read without waiting."""
    poll = select.poll()
    poll.register(STDIN, select.POLLIN)
    return bool(dict(poll.poll(0)).get(STDIN, 0) & select.POLLIN)


def is_wanted(option: bool | None, agent: str, *, jobs: int, detach: bool, is_prompt: bool) -> bool:
    """Whether to send stdin to the job: as the option says, by default if it is piped into the one job of a shell.

    ``is_prompt`` says that stdin is the prompt. Raises CliError for an option that contradicts the others.
    """
    if option is None:
        is_piped_in = agent == "shell" and not is_prompt and is_piped()
        if is_piped_in and (jobs > 1 or detach) and _has_bytes():
            why = "several jobs cannot share it" if jobs > 1 else "with --detach nobody stays to send it"
            talk(f"ado: what is piped in is not handed on: {why}; --no-stdin leaves this line out")
        return is_piped_in and jobs == 1 and not detach
    if option and is_prompt:
        raise usage("stdin cannot be both the prompt and the input", "give the prompt as an argument or in a file")
    if option and sys.stdin is None:
        raise usage("-i: stdin is closed", "leave out -i, or give it a pipe or a file")
    if not option or agent not in PROGRAMS:
        return False
    if agent != "shell":
        raise usage(f"-i: the agent {agent} reads no stdin", "use --agent shell, or an AI agent")
    if jobs > 1:
        raise usage(
            "-i: several jobs cannot share one stdin", "leave out --workers, or put the data into the repository"
        )
    if detach:
        raise usage("-i: with --detach nobody stays to send stdin", "leave out --detach")
    return True


def check_taken(client: HttpClient, task: Mapping[str, Any]) -> None:
    """Cancel the task and raise CliError if the server's release does not send stdin to jobs."""
    if not task.get("stdin"):
        client.mutate("tasks.cancel", {"taskId": task["taskId"], "reason": "nobody can feed it"})
        message = f"the server is of an older release, which hands on no stdin; {task['taskId']} was cancelled"
        raise CliError(message, "upgrade it, or add --no-stdin", exits.INFRASTRUCTURE, "stdin")


def appended(text: str) -> str:
    """Return a prompt with stdin after it. Raises CliError."""
    data = bytearray()
    while len(data) <= _PROMPT_BYTES and (piece := os.read(STDIN, _CHUNK_BYTES)):
        data += piece
    if len(data) > _PROMPT_BYTES:
        raise usage(
            f"-i: stdin has more than {_PROMPT_BYTES // 1024**2} MiB, too much for a prompt",
            "put the data into a file of the repository, and name it in the prompt",
        )
    try:
        return f"{text}\n\n{data.decode()}"
    except ValueError as error:
        raise usage(
            "-i: stdin is not UTF-8 text, and a prompt must be", "put it into a file of the repository"
        ) from error
