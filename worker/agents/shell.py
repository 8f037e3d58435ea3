"""The agent ``shell``: the prompt is a command line."""

from __future__ import annotations

from pathlib import Path

from worker.agents.base import LONGEST_ARGUMENT, Launch, Run

_FROM_STDIN = 'eval "$(cat)" </dev/null'
_FROM_BEFORE_INPUT = 'eval "$(dd bs=1 count={} 2>/dev/null)"'  # reads no byte of the input


class Shell:
    """Runs the prompt by ``/bin/sh``."""

    converses = False
    takes_messages = False
    needs = None

    def launch(self, run: Run) -> Launch:
        """Return the shell with the prompt; a long one is passed by stdin, before the job's input if there is any.

        ``--`` comes first, because a prompt that begins with a dash is no option of the shell.
        """
        size = len(run.prompt.encode("utf-8", "surrogateescape"))
        if size > LONGEST_ARGUMENT and run.stdin:
            return Launch(["/bin/sh", "-c", _FROM_BEFORE_INPUT.format(size)], stdin=run.prompt)
        if size > LONGEST_ARGUMENT:
            return Launch(["/bin/sh", "-c", _FROM_STDIN], stdin=run.prompt)
        return Launch(["/bin/sh", "-c", "--", run.prompt])

    def reader(self, run: Run) -> None:
        """Return None: all its lines are output."""

    def session_files(self, home: Path, session: str) -> list[Path]:
        """Return an empty list: it has no session."""
        return []
