"""Figures: what was measured, what the floor did in the same run, and what is wanted."""

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured thing; ``floor`` is the least that the same machine needed for it in the same run."""

    what: str
    product: float
    unit: str
    floor: float | None = None
    target: str = ""
    met: bool | None = None
    detail: dict[str, Any] = field(default_factory=dict)
    command: str = ""

    @property
    def ratio(self) -> float | None:
        """Product by floor."""
        return self.product / self.floor if self.floor else None


def percentile(values: Sequence[float], percent: float) -> float:
    """Return a percentile of at least one value."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Return p50 and p99 in milliseconds, and the count."""
    return {
        "p50Ms": round(percentile(seconds, 50) * 1000, 3),
        "p99Ms": round(percentile(seconds, 99) * 1000, 3),
        "count": len(seconds),
    }


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as a table of Markdown."""
    rows = [["what", "ado", "floor", "ratio", "target", "met", "command", "detail"], ["---"] * 8]
    for figure in figures:
        detail = ", ".join(f"{name} {_short(value)}" for name, value in figure.detail.items())
        met = {True: "yes", False: "**no**", None: ""}[figure.met]
        rows.append(
            [
                figure.what,
                f"{_short(figure.product)} {figure.unit}",
                f"{_short(figure.floor)} {figure.unit}" if figure.floor is not None else "",
                f"{figure.ratio:.2f}" if figure.ratio is not None else "",
                figure.target,
                met,
                f"`{figure.command}`",
                detail,
            ]
        )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _short(value: Any) -> str:
    if not isinstance(value, float | int):
        return str(value)
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def report(figures: Sequence[Figure]) -> dict[str, Any]:
    """Return everything as JSON values."""
    items = [{**asdict(figure), "ratio": figure.ratio} for figure in figures]
    return {"at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine(), "figures": items}


def machine() -> str:
    """Return what the figures were measured on."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in info if line.startswith("model name")]
    model = models[0] if models else platform.machine()
    busy = Path("/proc/loadavg").read_text().split()[0]
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} x {model}, {system}, load {busy} at the end"
