"""``30d``, ``12h``, ``10m``, ``5s``: durations as people write them."""

from __future__ import annotations

import re

from cli.errors import usage

_UNITS = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "": 1.0}


def parse(text: str) -> float:
    """Return seconds. Raises CliError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([dhms]?)", text)
    if match is None:
        raise usage(f"{text!r} is no duration", "write it as 30d, 12h, 10m or 5s")
    return float(match[1]) * _UNITS[match[2]]
