"""A task group that raises the error of its first failed task, not a group of errors."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


@contextlib.asynccontextmanager
async def task_group() -> AsyncIterator[asyncio.TaskGroup]:
    """Run tasks beside a block; the first failure cancels the others and the block, and is raised.

    When the caller is cancelled, CancelledError is raised, whatever the tasks raise meanwhile.
    """
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as errors:
        caller = asyncio.current_task()
        if caller is not None and caller.cancelling():
            raise asyncio.CancelledError from errors
        raise errors.exceptions[0] from None
