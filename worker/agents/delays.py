"""How long an agent was told to wait, from its own words: models' services and agents say it in many ways.

The known ones: ``Please retry in 34.5s``, ``try again in 7m12s``, ``in 3 days 2 hours``, ``Retrying after 1500ms``,
``Retry-After: 3600``, ``try again at 10:19 PM``, ``try again at Nov 27th, 2026 10:19 PM``, ``resets 3pm (UTC)``.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

LONGEST_SECONDS = 7 * 86_400.0
"""The longest wait that is believed, and that a server takes: the longest windows of models' services are weeks."""

_READ_CHARS = 4000
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_BEFORE_AMOUNT = re.compile(
    r"\b(?:retry|retrying|try again|resets?|wait)\s+(?:(?:in|after|for)\s+)?(?=\d)", re.IGNORECASE
)
_AMOUNT = re.compile(
    r"(\d{1,9}(?:\.\d{1,9})?)\s?"
    r"(ms|milliseconds?|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d)(?![a-z]),?\s?(?:and\s)?",
    re.IGNORECASE,
)
_HEADER = re.compile(r"\bretry-after\W{1,4}(\d{1,9})", re.IGNORECASE)
_CLOCK = re.compile(
    r"\b(?:try again at|resets(?: at)?)\s+(?:([a-z]{3}) (\d{1,2})(?:st|nd|rd|th)?,? (\d{4}),? )?"
    r"(\d{1,2})(?::(\d{2}))?\s?([ap]m)\b(?: \(([^)]{1,40})\))?",
    re.IGNORECASE,
)
_LIMITED = re.compile(r"\b(?:rate.?limit|usage limit|quota)", re.IGNORECASE)
_TRUNCATED = timedelta(minutes=1)
"""A time of day is cut to the minute, so the wait may end up to a minute later."""
_PAST = timedelta(hours=1)
"""A time of day so little ago is over; an earlier one is tomorrow's."""


def says_limit(message: str) -> bool:
    """Whether an error's text is about a limit of the model's service."""
    return _LIMITED.search(message[:_READ_CHARS]) is not None


def delay_in(message: str, now: datetime) -> float | None:
    """Return how many seconds an error's text says to wait; ``now`` has the time zone of the agent's clock."""
    text = message[:_READ_CHARS]
    seconds = _amount(text)
    if seconds is None and (match := _HEADER.search(text)):
        seconds = float(match[1])
    if seconds is None:
        try:
            end = _clock(text, now)
        except (KeyError, ValueError, OSError):  # no such day, hour or zone
            return None
        seconds = None if end is None else (end - now).total_seconds()
    return None if seconds is None else min(max(seconds, 0.0), LONGEST_SECONDS)


def _amount(text: str) -> float | None:
    for begin in _BEFORE_AMOUNT.finditer(text):
        position, seconds = begin.end(), 0.0
        while part := _AMOUNT.match(text, position):
            unit = part[2].lower()
            seconds += float(part[1]) * _UNITS["ms" if unit.startswith(("ms", "milli")) else unit[0]]
            position = part.end()
        if position > begin.end():
            return seconds
    return None


def _clock(text: str, now: datetime) -> datetime | None:
    """Return the end of a wait that is stated as a time of day. Raises KeyError, ValueError, OSError."""
    match = _CLOCK.search(text)
    if match is None:
        return None
    month, day, year, hour, minute, half, zone = match.groups()
    local = now.astimezone(ZoneInfo(zone)) if zone else now
    hours = int(hour) % 12 + (12 if half.lower() == "pm" else 0)
    end = local.replace(hour=hours, minute=int(minute or 0), second=0, microsecond=0)
    if month:
        date = datetime.strptime(f"{month} {day} {year}", "%b %d %Y").replace(tzinfo=local.tzinfo)
        end = end.replace(year=date.year, month=date.month, day=date.day)
    elif end < local - _PAST:
        end += timedelta(days=1)
    return end + _TRUNCATED
