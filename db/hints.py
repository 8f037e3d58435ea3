"""Hints as texts, and how several of them share one notification.

``e:TASK:SEQ``: a log has grown. ``q:N``: N jobs were queued. ``w:WORKER``: there may be a command for a worker. ``s``:
a setting of the system has changed. ``i:TASK/JOB``: a job's input has arrived or was taken. ``a:QUESTION``: a question
is no longer open. ``h:NAME``: a probe. A payload separates hints by spaces; a space or a per cent sign in a worker's id
is escaped.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator

_log = logging.getLogger("ado.hints")
_PAYLOAD_BYTES = 7900  # Postgres takes fewer than 8000
_SILENT_SECONDS = 60.0
_FULL_QUEUE_STEP = "end the session that listens inside an open transaction (pg_stat_activity); readers poll until then"


def topic(hint: str) -> str:
    """Return what a hint is about; of several hints with one topic only the one with the highest number is needed."""
    return hint.rpartition(":")[0] if hint[:2] in ("e:", "q:") else hint


def merge(pending: dict[str, str], hints: Iterable[str]) -> None:
    """Add hints to those that wait, by topic.

    The highest number is kept, not the newest hint: answers of two connections can arrive in the other order than their
    commits, and a reader that compares the number with its own would wait one poll interval longer for the last event.
    """
    for hint in hints:
        subject = topic(hint)
        if subject == hint or subject not in pending or _number(hint) > _number(pending[subject]):
            pending[subject] = hint


def _number(hint: str) -> int:
    return int(hint.rpartition(":")[2])


def payloads(hints: Iterable[str]) -> Iterator[str]:
    """Join hints into payloads that fit; a hint that is longer than a payload is left out."""
    parts: list[str] = []
    size = 0
    for hint in hints:
        part = hint.replace("%", "%25").replace(" ", "%20")
        width = len(part.encode()) + 1
        if width > _PAYLOAD_BYTES:
            continue
        if size + width > _PAYLOAD_BYTES:
            yield " ".join(parts)
            parts, size = [], 0
        parts.append(part)
        size += width
    if parts:
        yield " ".join(parts)


def parse(payload: str) -> list[str]:
    """Split a payload into its hints."""
    return [part.replace("%20", " ").replace("%25", "%") for part in payload.split(" ")]


class HintFailures:
    """Logs that hints could not be sent, at most once a minute."""

    def __init__(self) -> None:
        self._logged_at = float("-inf")

    def log(self, error: Exception, *, full: bool) -> None:
        """Log a failure; ``full``: because the queue of notifications was full."""
        if time.monotonic() - self._logged_at > _SILENT_SECONDS:
            self._logged_at = time.monotonic()
            next_step = {"next_step": _FULL_QUEUE_STEP} if full else {}
            _log.warning("hints were not sent", extra={"error": type(error).__name__, **next_step})
