"""The one shape of a background loop: a step, an interval with jitter, and a pause after an error.

A replica outlives its database. A driver whose server is killed fails in ways that no list covers; some of them cancel
whoever waits for it. So a loop ends only when its owner cancels it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from app.rpc.backoff import Backoff
from db.errors import DatabaseUnavailable

_log = logging.getLogger("ado.control")
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 1.0  # a database that is back is noticed within a second


async def for_ever(run: Callable[[], Awaitable[object]], *, name: str) -> None:
    """Run ``run`` again whenever it ends, until this task is cancelled."""
    while True:
        error: BaseException | None = None
        try:
            await run()
        except asyncio.CancelledError as cancelled:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            error = cancelled
        except Exception as failed:  # noqa: BLE001 - whatever it is, the replica lives on
            error = failed
        _log.error("loop ended; starting it again", exc_info=error, extra={"loop": name})
        await asyncio.sleep(_LONGEST_PAUSE_SECONDS)


async def every(seconds: float, step: Callable[[], Awaitable[object]], *, name: str) -> None:
    """Run ``step`` again and again until cancelled; a failed step is logged and tried again after a pause."""
    backoff = Backoff(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
    while True:
        interval = seconds * random.uniform(0.8, 1.2)  # noqa: S311 - keeps replicas from acting in step
        try:
            await step()
            backoff.reset()
        except DatabaseUnavailable as error:
            interval = max(interval, backoff.next())
            _log.warning("step waits for the database", extra={"step": name, "detail": str(error)})
        except Exception:  # noqa: BLE001 - a loop outlives its steps
            interval = max(interval, backoff.next())
            _log.exception("step failed", extra={"step": name})
        await asyncio.sleep(interval)
