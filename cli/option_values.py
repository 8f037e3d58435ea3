"""Values of options as people write them: durations, amounts of memory, and ``NAME=VALUE``."""

from __future__ import annotations

import math
import re

from cli.errors import usage

_SECONDS = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)([dhms])")
_LONGEST_SECONDS = 10_000 * _SECONDS["d"]  # Postgres and the timers of an event loop add it to now without overflow
_MOST = 2**60  # the largest amount that a server takes
_BYTES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def seconds_of(text: str) -> float:
    """Return the seconds of ``30d``, ``12h``, ``10m``, ``5s`` or ``1h30m``.

    Raises CliError, also for a number without a unit: 30 is seconds to some and days to others.
    """
    parts = _DURATION_PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
            raise usage(f"the duration {text} has no unit", f"write {text}s, {text}m, {text}h or {text}d")
        raise usage(f"{text!r} is not a duration", "write 30d, 12h, 10m, 5s or 1h30m")
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if seconds > _LONGEST_SECONDS:
        raise usage(f"the duration {text} is too long", "the longest is 10000d")
    return seconds


def optional_seconds(text: str | None) -> float | None:
    """Return the seconds of a duration, or None where the option is not used. Raises CliError."""
    return None if text is None else seconds_of(text)


def bytes_of(text: str) -> int:
    """Return the bytes of ``512M``, ``4G`` or ``4Gi``. Raises CliError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)(?:i?B?)", text)
    if match is None:
        raise usage(f"--memory {text}: this is no amount of memory", "write it as 512M or 4G")
    amount = float(match[1]) * _BYTES[match[2]]
    if amount > _MOST:
        raise usage(f"--memory {text}: this is more than any machine has", "write it as 512M or 4G")
    return int(amount)


def amount_of(number: float | None, option: str) -> float | None:
    """Return the number of an option; JSON has no infinity, and would send none. Raises CliError."""
    if number is not None and not math.isfinite(number):
        raise usage(f"{option} {number}: it is not a finite number", f"example: {option} 2")
    return number


def pairs(entries: list[str] | None, option: str) -> dict[str, str]:
    """Return the names and values of an option that is used any number of times. Raises CliError."""
    return dict(pair(entry, option) for entry in entries or [])


def pair(entry: str, option: str) -> tuple[str, str]:
    """Return the name and the value of ``NAME=VALUE``. Raises CliError."""
    name, equals, value = entry.partition("=")
    if not name or not equals:
        raise usage(f"{option} {entry!r} is not NAME=VALUE", f"example: {option} colour=blue")
    return name, value
