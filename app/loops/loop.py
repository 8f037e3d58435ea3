"""The one shape of a control loop: a step, an interval with jitter, and errors that cost only time.

A replica outlives its database. A driver whose server is killed fails in ways that nobody has listed, some of them by
cancelling what waits for it; so a loop ends only when its owner cancels it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from db.errors import DatabaseUnavailable

_log = logging.getLogger("ado.control")
_PAUSE_SECONDS = 0.5


async def for_ever(run: Callable[[], Awaitable[object]], *, name: str) -> None:
    """Run what should never end until this task is cancelled; when it ends by itself it is started again."""
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
        await asyncio.sleep(_PAUSE_SECONDS)


async def every(seconds: float, step: Callable[[], Awaitable[object]], *, name: str) -> None:
    """Run ``step`` again and again until cancelled; a failed step is logged and tried again."""
    while True:
        try:
            await step()
        except DatabaseUnavailable as error:
            _log.warning("step waits for the database", extra={"step": name, "detail": str(error)})
        except Exception:  # noqa: BLE001 - a loop outlives its steps
            _log.exception("step failed", extra={"step": name})
        await asyncio.sleep(seconds * random.uniform(0.8, 1.2))  # noqa: S311
