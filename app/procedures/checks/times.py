"""Times that callers send."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from app.core.reasons import refusal


def in_utc(field: str, at: datetime) -> datetime:
    """Return a time in UTC; one without a zone is taken as UTC. Raises BAD_REQUEST for one that UTC cannot express."""
    try:
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except OverflowError:
        raise refusal("invalid_input", f"{field}: it is outside the years 1 to 9999", field=field) from None


def since(field: str, given: datetime | float) -> datetime:
    """Return the time that a caller gave as a time or as a number of seconds ago. Raises BAD_REQUEST."""
    if isinstance(given, datetime):
        return in_utc(field, given)
    return datetime.now(UTC) - timedelta(seconds=given)
