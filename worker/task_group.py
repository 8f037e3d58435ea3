"""Tasks that belong together: one that fails is noticed at once, not when somebody asks for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def first_or_failure(first: asyncio.Future[T], others: Iterable[asyncio.Future[Any]]) -> T:
    """Wait for ``first`` and return its result; one of the others that fails earlier raises its error here."""
    watched = {first, *others}
    while not first.done():
        done, watched = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    return first.result()


async def all_or_failure(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Wait until all have ended, or until one has failed, whose error is raised."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        task.result()
