"""Amounts as Kubernetes writes them: ``500m``, ``2Gi``, ``1e3``; pure."""

from __future__ import annotations

import re
from decimal import Decimal

_FORM = re.compile(r"([+-]?[0-9.]+)(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?[0-9]+))?")
_SCALES = {"": Decimal(1), "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3")}
_SCALES |= {letter: Decimal(1000) ** power for power, letter in enumerate("kMGTPE", 1)}
_SCALES |= {f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", 1)}


def quantity(text: object) -> Decimal | None:
    """Return the number that a quantity means, or None when it means none."""
    match = _FORM.fullmatch(str(text).strip())
    if match is None or match[1].count(".") > 1 or not any(letter.isdigit() for letter in match[1]):
        return None
    exponent = min(int(match[3] or 0), 100)
    return Decimal(match[1]) * _SCALES[match[2] or ""] * Decimal(10) ** exponent
