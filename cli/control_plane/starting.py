"""Progress of the start of the embedded control plane: written to a file, shown by the commands that wait.

The step is in a file because the control plane has no terminal, and because several commands may wait for the same
start. On a terminal the step and the seconds are the last row, which is erased at the end; elsewhere nothing is shown.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path

from app.core.private_files import write_file
from cli.render.terminal import columns, is_terminal
from cli.render.visible import one_line, visible

STEP = "plane.step"
_ERASE_LINE = "\r\x1b[K"
_LONGEST_STEP = 200


def write_step(home: Path, step: str) -> None:
    """Write the current step of the start. A full disk does not end the start: the step is then not shown."""
    with contextlib.suppress(OSError):
        write_file(home / STEP, step.encode())


def forget_step(home: Path) -> None:
    """Remove the step of a start that has ended."""
    with contextlib.suppress(OSError):
        (home / STEP).unlink(missing_ok=True)


def read_step(home: Path) -> str:
    """Return the current step of the start; empty if none is written."""
    try:
        with (home / STEP).open("rb") as file:
            return file.read(_LONGEST_STEP).decode(errors="replace")
    except OSError:
        return ""


class StepRow:
    """The last row of a terminal on stderr, which shows the current step of a start."""

    def __init__(self) -> None:
        self._live = is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb"
        self._began = time.monotonic()
        self._shown = ""

    def __enter__(self) -> StepRow:
        return self

    def __exit__(self, *_error: object) -> None:
        self.clear()

    def show(self, step: str) -> None:
        """Show a step in place of the one before."""
        if not self._live or not step:
            return
        seconds = int(time.monotonic() - self._began)
        row = visible(one_line(f"ado: {step}{f' ({seconds} s)' if seconds else ''}"))[: columns() - 1]
        if row != self._shown:
            self._write(f"{_ERASE_LINE}{row}\r")  # the log of a control plane in the foreground overwrites it
            self._shown = row

    def clear(self) -> None:
        """Erase the row; the next line is written in its place."""
        if self._shown:
            self._write(_ERASE_LINE)
            self._shown = ""

    @staticmethod
    def _write(text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # stderr is closed or full
            sys.stderr.write(text)
            sys.stderr.flush()
