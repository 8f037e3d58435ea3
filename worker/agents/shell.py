"""The agent ``shell``: the prompt is a command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker.agents.base import Outcome, judge
from worker.process import Ended


class Shell:
    """Runs the prompt by ``/bin/sh``."""

    def command(self, job: Mapping[str, Any]) -> list[str]:
        """Return the shell with the prompt."""
        return ["/bin/sh", "-c", job["prompt"]]

    def outcome(self, ended: Ended) -> Outcome:
        """Judge by the exit code."""
        return judge(ended)
