"""Public ids (``task-123``, ``task-123/2``), the cursors made of them, and the errors for unknown ones."""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.core.reasons import refusal
from app.procedures.checks.paging import invalid_cursor
from app.rpc.errors import ProcedureError

_JOB = re.compile(r"(?:task-)?([1-9]\d{0,17})/(\d{1,9})", re.ASCII)


@dataclass(frozen=True, slots=True)
class PublicId:
    """The public ids of one kind of thing: ``schedule-7``, or ``7`` alone."""

    prefix: str
    noun: str

    def parse(self, text: str) -> int:
        """Return the number of an id. Raises NOT_FOUND."""
        if match := self._match(text):
            return int(match[1])
        raise self.unknown(text)

    def parse_cursor(self, text: str | None) -> int:
        """Return the number of a cursor that is the last item's id; 0 without a cursor. Raises BAD_REQUEST."""
        if text is None:
            return 0
        if match := self._match(text):
            return int(match[1])
        raise invalid_cursor()

    def unknown(self, text: str) -> ProcedureError:
        """Make the error for an unknown id."""
        return refusal(f"no_such_{self.noun}", f"there is no {self.noun} {text[:100]!r}")

    def _match(self, text: str) -> re.Match[str] | None:
        return re.fullmatch(rf"(?:{self.prefix}-)?([1-9]\d{{0,17}})", text, re.ASCII)


TASK = PublicId("task", "task")


def parse_task(text: str) -> int:
    """Return the number of a task id. Raises NOT_FOUND."""
    return TASK.parse(text)


def parse_job(text: str) -> tuple[int, int]:
    """Return task number and index of a job id. Raises NOT_FOUND."""
    if match := _JOB.fullmatch(text):
        return int(match[1]), int(match[2])
    raise no_such_job(text)


def no_such_task(text: str) -> ProcedureError:
    """Make the error for an unknown task."""
    return TASK.unknown(text)


def no_such_job(text: str) -> ProcedureError:
    """Make the error for an unknown job."""
    return refusal("no_such_job", f"there is no job {text[:100]!r}")


def no_such_file(text: str) -> ProcedureError:
    """Make the error for an unknown file, or one that the caller may not see."""
    return refusal("no_such_file", f"there is no file {text[:100]!r}")
