"""A range of ``ado workers autoscale`` in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def range_sentence(range: Mapping[str, Any]) -> str:
    """Return the limits of a range and how many workers there are."""
    queue, cooldown = range["targetQueue"], f"{range['cooldownSeconds']:g}s"
    more = "one for each job that waits" if queue == 0 else f"more when over {queue} queued per worker"
    name = range.get("capability") or "all workers"
    limits = f"{range['workers']} now, {range['min']} to {range['max']} allowed"
    return f"autoscale {name}: {limits}; {more}; fewer after {cooldown} of surplus"
