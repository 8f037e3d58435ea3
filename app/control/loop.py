"""The one shape of a control loop: a step, an interval with jitter, and errors that cost only time."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from db.errors import DatabaseUnavailable

_log = logging.getLogger("ado.control")


async def every(seconds: float, step: Callable[[], Awaitable[object]], *, name: str) -> None:
    """Run ``step`` again and again until cancelled; a failed step is logged and tried again."""
    while True:
        try:
            await step()
        except DatabaseUnavailable:
            _log.warning("step waits for the database", extra={"step": name})
        except Exception:  # noqa: BLE001 - a loop outlives its steps
            _log.exception("step failed", extra={"step": name})
        await asyncio.sleep(seconds * random.uniform(0.8, 1.2))  # noqa: S311
