"""Public ids (``task-123``, ``task-123/2``) and the errors for unknown ones."""

from __future__ import annotations

import re

from app.core.reasons import refusal
from app.rpc.errors import ProcedureError

_TASK = re.compile(r"(?:task-)?([1-9]\d{0,17})", re.ASCII)
_JOB = re.compile(r"(?:task-)?([1-9]\d{0,17})/(\d{1,9})", re.ASCII)


def parse_task(text: str) -> int:
    """Return the number of a task id. Raises NOT_FOUND."""
    if match := _TASK.fullmatch(text):
        return int(match[1])
    raise no_such_task(text)


def parse_job(text: str) -> tuple[int, int]:
    """Return task number and index of a job id. Raises NOT_FOUND."""
    if match := _JOB.fullmatch(text):
        return int(match[1]), int(match[2])
    raise no_such_job(text)


def no_such_task(text: str) -> ProcedureError:
    """Make the error for an unknown task."""
    return refusal("no_such_task", f"there is no task {text[:100]!r}")


def no_such_job(text: str) -> ProcedureError:
    """Make the error for an unknown job."""
    return refusal("no_such_job", f"there is no job {text[:100]!r}")


def no_such_file(text: str) -> ProcedureError:
    """Make the error for an unknown file, or one that the caller may not see."""
    return refusal("no_such_file", f"there is no file {text[:100]!r}")
