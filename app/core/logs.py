"""JSON logs: one line for each event, with a constant name in ``event`` and all variable parts in other fields.

An equal warning or error is written once a minute; its next line has the number of those left out.

Levels: INFO for a change of state (started, draining, attempt lost, task settled), WARNING for problems that pass
(listener lost, database away), ERROR for faults of ado. Fields ``task``, ``job``, ``attempt`` and ``worker`` always
mean the same, and ``request`` is the answer's ``x-request-id``. Prompts, environment values, tokens
and query strings are never logged.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

import orjson

from app.rpc.request_id import current

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
_REPEAT_SECONDS = 60.0
_REMEMBERED = 1000
_POOLS = frozenset({"asyncpg.pool", "psycopg.pool"})
_ADDRESS = re.compile(r"0x[0-9a-f]+")


class JsonFormatter(logging.Formatter):
    """Writes a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        if (request := current.get()) is not None:
            line["request"] = request
        line.update({key: value for key, value in vars(record).items() if key not in _STANDARD})
        if record.exc_info and record.exc_info[0]:
            line["error"] = record.exc_info[0].__name__
            line["trace"] = "".join(traceback.format_exception(*record.exc_info))
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class RepeatFilter(logging.Filter):
    """Lets an equal warning or error through once a minute, so that an outage does not bury its cause."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, ...], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to write a record; ``repeated`` is the number of equal ones left out before it."""
        if record.levelno < logging.WARNING:
            return True
        if record.name in _POOLS and record.exc_info and (error := record.exc_info[1]):
            record.exc_info, record.detail = None, f"{type(error).__name__}: {error}"
        key = _identity(record)
        written_at, since = self._seen.pop(key, (float("-inf"), 0))
        is_new = record.created - written_at >= _REPEAT_SECONDS
        if is_new and since:
            record.repeated = since
        self._seen[key] = (record.created, 0) if is_new else (written_at, since + 1)
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]
        return is_new


def _identity(record: logging.LogRecord) -> tuple[str, ...]:
    """Return a key that is equal for records with the same content."""
    fields = [f"{key}={value}" for key, value in vars(record).items() if key not in _STANDARD and key != "seconds"]
    error = record.exc_info[1] if record.exc_info else None
    return record.name, _ADDRESS.sub("", record.getMessage()), repr(error), *fields


def configure(level: str = "INFO") -> None:
    """Write all log records of the process to stderr as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    handler.addFilter(RepeatFilter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("uvicorn.error", "uvicorn.access"):
        logging.getLogger(noisy).setLevel("WARNING")  # they name query strings, which may hold tokens
