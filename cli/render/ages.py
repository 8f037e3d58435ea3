"""Ages and times for a person."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_STEPS = ((60.0, 1.0, "s"), (3600.0, 60.0, "min"), (86_400.0, 3600.0, "h"), (float("inf"), 86_400.0, "d"))


def ago(time: str, now: datetime | None = None) -> str:
    """Return ``3 min ago`` for a time of the wire; a time in the future, from another clock, is ``0 s ago``."""
    seconds = max(0.0, ((now or datetime.now(UTC)) - datetime.fromisoformat(time)).total_seconds())
    size, unit = next((size, unit) for limit, size, unit in _STEPS if seconds < limit)
    return f"{int(seconds / size)} {unit} ago"


def when(time: str | None, now: datetime | None = None) -> str:
    """Return ``3 min ago`` or ``in 3 min``; a dash for no time."""
    if not time:
        return "-"
    now = now or datetime.now(UTC)
    ahead = (datetime.fromisoformat(time) - now).total_seconds()
    if ahead < 1:
        return ago(time, now)
    return f"in {ago((now - timedelta(seconds=ahead)).isoformat(), now).removesuffix(' ago')}"
