"""The times of a cron expression in a time zone.

cronsim reads the expression as Debian's cron does. A time that a spring morning leaves out runs as soon as the gap
ends, and a time that an autumn morning has twice runs at the first. An expression with ``*`` for hour or minute follows
the clock, so it runs in both hours of such a morning, and so does one of six fields, which begin with seconds,
unless they say second 0.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

EXPRESSION_CHARS = 200
_EXPRESSION = re.compile(r"[0-9A-Za-z*/,#\- \t]*", re.ASCII)
_ZONE = re.compile(r"[A-Za-z0-9_+\-]+(?:/[A-Za-z0-9_+\-]+)*", re.ASCII)
_SECOND = timedelta(seconds=1)
_EXAMPLE = 'example: "0 3 * * 1-5" is 3:00 from Monday to Friday'


class CronRefused(ValueError):
    """An expression or time zone that cannot be used; ``field`` names which."""

    def __init__(self, field: str, problem: str, next_step: str) -> None:
        super().__init__(problem)
        self.field = field
        self.next_step = next_step


def next_after(expression: str, timezone: str, after: datetime) -> datetime:
    """Return the first time of an expression that is later than ``after``, in UTC. Raises CronRefused."""
    for time in _parse(expression, after.astimezone(_zone(timezone))):
        at = time.astimezone(UTC)  # two times of one zone compare by their clocks
        if at > after:
            return at
    raise _never(expression)


def _parse(expression: str, start: datetime) -> CronSim:
    if len(expression) > EXPRESSION_CHARS or not _EXPRESSION.fullmatch(expression):
        raise CronRefused("cron", f"{expression[:100]!r} is not a cron expression", _EXAMPLE)
    fields = expression.split()
    if len(fields) == 6 and fields[0] in ("0", "00"):
        fields = fields[1:]
    try:
        return CronSim(" ".join(fields), start)
    except CronSimError as error:
        day_and_before, month, weekday = fields[:-2], fields[-2:-1], fields[-1:]
        if _is_parsed([*day_and_before, "*", *weekday]) and _is_parsed([*day_and_before[:-1], "*", *month, *weekday]):
            raise _never(expression) from None
        raise CronRefused("cron", f"{expression[:100]!r} is not a cron expression: {error}", _EXAMPLE) from None


def _is_parsed(fields: list[str]) -> bool:
    try:
        CronSim(" ".join(fields), datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError:
        return False
    return True


def _never(expression: str) -> CronRefused:
    text = f"{expression[:100]!r} never comes: no day in the next 50 years matches it"
    return CronRefused("cron", text, "correct day, month and weekday")


def _zone(name: str) -> ZoneInfo:
    step = "write it as in Europe/Prague, or UTC"
    try:
        if _ZONE.fullmatch(name):
            return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: a folder of zones
        pass
    raise CronRefused("timezone", f"there is no time zone {name[:100]!r}", step)


def missed_times(
    expression: str, timezone: str, due: datetime, until: datetime, most: int
) -> tuple[int, datetime, datetime]:
    """Return how many times from ``due`` on are before ``until``, the last of them, and the next time.

    They are counted up to ``most``; the last is then the last that was counted. Raises CronRefused.
    """
    count, last, following = 0, due, due
    while following < until and count < most:
        count, last = count + 1, following
        following = next_after(expression, timezone, following)
    if following < until:
        following = until - _SECOND
        while following < until:
            following = next_after(expression, timezone, following)
    return count, last, following
