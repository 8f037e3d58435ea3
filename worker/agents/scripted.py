"""The agent ``scripted``: plays a script, for tests and for trying ado without a model.

The prompt is a list of steps, one JSON object in each line: ``{"say": TEXT}`` and ``{"error": TEXT}`` write to stdout
and stderr, ``{"bytes": BASE64}`` writes raw bytes, ``{"sleep": SECONDS}`` waits, ``{"progress": {…}}`` and ``{"agent":
{…}}`` write events, ``{"spawn": COMMAND}`` leaves a process behind in a session of its own, ``{"ignore": true}``
ignores SIGTERM, ``{"repeat": N, "steps": […]}`` plays steps again, ``{"write": {"path": …, "text": …}}`` writes a file,
``{"until": PATH}`` waits for one, ``{"turn": SESSION}`` ends a turn of a session, from which another attempt resumes,
``{"exit": CODE}`` ends. It runs as a real process (``player``), so that signals and kills are real.
"""

from __future__ import annotations

import sys
from pathlib import Path

from worker.agents.base import LONGEST_ARGUMENT, Launch, Run

_PLAYER = str(Path(__file__).with_name("player.py"))


class Scripted:
    """Plays the prompt."""

    converses = False
    takes_messages = True
    needs = None

    def launch(self, run: Run) -> Launch:
        """Return the player with the script, and the session to resume."""
        long = len(run.prompt.encode("utf-8", "surrogateescape")) > LONGEST_ARGUMENT
        script, stdin = ("-", run.prompt) if long else (run.prompt, "")
        argv = [sys.executable, "-I", "-S", _PLAYER, script, *([run.session] if run.session else [])]
        return Launch(argv, stdin=stdin)

    def reader(self, run: Run) -> None:
        """Return None: all its lines are output."""

    def session_files(self, home: Path, session: str) -> list[Path]:
        """Return the file with the number of steps that were played."""
        return [home / ".scripted" / session]
