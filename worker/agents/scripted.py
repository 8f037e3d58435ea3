"""The agent ``scripted``: plays a script, for tests and for trying ado without a model.

The prompt is a list of steps, one JSON object a line: ``{"say": TEXT}`` and ``{"error": TEXT}`` write to stdout and
stderr, ``{"bytes": BASE64}`` writes raw bytes, ``{"sleep": SECONDS}`` waits, ``{"progress": {…}}`` and ``{"agent":
{…}}`` tell events, ``{"spawn": COMMAND}`` leaves a process behind in a session of its own, ``{"ignore": true}``
ignores SIGTERM, ``{"repeat": N, "steps": […]}`` plays steps again, ``{"exit": CODE}`` ends. It runs as a real process
(``player``), so that signals and kills are real.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worker.agents.base import Outcome, judge
from worker.process import Ended

_PLAYER = str(Path(__file__).with_name("player.py"))


class Scripted:
    """Plays the prompt."""

    def command(self, job: Mapping[str, Any]) -> list[str]:
        """Return the player with the script."""
        return [sys.executable, "-I", "-S", _PLAYER, job["prompt"]]

    def outcome(self, ended: Ended) -> Outcome:
        """Judge by the exit code."""
        return judge(ended)
