"""``30d``, ``12h``, ``10m``, ``5s``, ``1h30m``: durations as people write them."""

from __future__ import annotations

import re

from cli.errors import usage

_UNITS = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)([dhms])")
_LONGEST_SECONDS = 10_000 * _UNITS["d"]  # Postgres and the timers of an event loop add it to now without overflow


def parse(text: str) -> float:
    """Return seconds. Raises CliError for a number without a unit: 30 is seconds to some and days to others."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
            raise usage(f"the duration {text} has no unit", f"write {text}s, {text}m, {text}h or {text}d")
        raise usage(f"{text!r} is not a duration", "write 30d, 12h, 10m, 5s or 1h30m")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if seconds > _LONGEST_SECONDS:
        raise usage(f"the duration {text} is too long", "the longest is 10000d")
    return seconds
