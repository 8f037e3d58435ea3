"""The agent ``shell``: the prompt is a command line."""

from __future__ import annotations

from pathlib import Path

from worker.agents.base import LONGEST_ARGUMENT, Launch, Run

_FROM_STDIN = 'eval "$(cat)" </dev/null'
_FROM_BEFORE_INPUT = 'eval "$(dd bs=1 count={} 2>/dev/null)"'  # takes no byte more


class Shell:
    """Runs the prompt by ``/bin/sh``."""

    needs = None

    def launch(self, run: Run) -> Launch:
        """Return the shell with the prompt; a long one comes by stdin, before the job's input if there is any.

        The dashes keep a prompt that begins with one from being an option of the shell.
        """
        size = len(run.prompt.encode("utf-8", "surrogateescape"))
        if size > LONGEST_ARGUMENT and run.stdin:
            return Launch(["/bin/sh", "-c", _FROM_BEFORE_INPUT.format(size)], stdin=run.prompt)
        if size > LONGEST_ARGUMENT:
            return Launch(["/bin/sh", "-c", _FROM_STDIN], stdin=run.prompt)
        return Launch(["/bin/sh", "-c", "--", run.prompt])

    def reader(self, run: Run) -> None:
        """Return none: what it writes is output."""

    def session_files(self, home: Path, session: str) -> list[Path]:
        """Return none: it has no session."""
        return []
