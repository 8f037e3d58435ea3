"""The report of an attempt's end: sent until the server answers, and what it says after an error."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from typing import Any

from app.rpc.client import CallError
from worker.agents.verdict import Outcome
from worker.output.batches import Call, until_answered
from worker.output.wire_events import clean_text
from worker.processes.process import KeeperBroken

_log = logging.getLogger("ado.worker")
_MESSAGE_CHARS = 9000  # a server takes 10,000 characters


async def report_end(call: Call, head: Mapping[str, Any], outcome: Outcome, final: Mapping[str, Any]) -> None:
    """Report an end until the server answers; a refused report is sent once more without ``final``, the result.

    ``head`` is the fence of the attempt, the number of its last batch, and the agent's health.
    """
    job, members = head["jobId"], {"outcome": outcome.outcome, "exitCode": outcome.exit_code, "reason": outcome.reason}
    report = {**head, **members}
    if outcome.after_seconds is not None:  # as a part of what a server of an older release refuses
        final = {**final, "afterSeconds": outcome.after_seconds}
    message = clean_text(outcome.message, _MESSAGE_CHARS)
    try:
        await until_answered(call, "workers.finish", {**report, "message": message, **final})
    except CallError as error:
        _log.exception("finish was refused", extra={"job": job, "reason": error.reason})
        refusal = clean_text(f"the server refused the report of the end: {error.message}", _MESSAGE_CHARS)
        with contextlib.suppress(CallError):  # heartbeats no longer list the job, so the server requeues it
            await until_answered(call, "workers.finish", {**report, "message": message or refusal})
    _log.info("attempt finished", extra={"job": job, "attempt": head["attempt"], "outcome": outcome.outcome})


def outcome_of_error(error: Exception, job: str, attempt: int) -> Outcome:
    """Return how an attempt ends after an error that says nothing about the machine; an unexpected one is logged."""
    match error:
        case OSError() | KeyError():
            return Outcome("failed", None, "start_failed", f"the agent could not be started: {error}")
        case CallError():
            return Outcome("failed", None, "agent_error", f"the server refused the output: {error.message}")
        case KeeperBroken():
            return Outcome("failed", None, "worker_error", str(error))
    _log.error("attempt broke", exc_info=error, extra={"job": job, "attempt": attempt})
    message = f"the worker made a mistake, see its log: {type(error).__name__}: {error}"
    return Outcome("failed", None, "worker_error", message)
