"""Sending calls again: which errors pass, how long a call is repeated, and servers of an older release.

Only calls that may arrive twice are sent again: queries, and mutations that the server stores once.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from app.rpc.backoff import Backoff
from app.rpc.client.errors import NO_SUCH_PROCEDURE, CallError, NoAnswer, UnusableAnswer

T = TypeVar("T")
Failure = CallError | NoAnswer

PASSING = frozenset({"SERVICE_UNAVAILABLE", "INTERNAL_SERVER_ERROR", "TOO_MANY_REQUESTS", "TIMEOUT"})
"""Codes of errors after which the same call may succeed: the server is away, failed, or is busy."""
UPGRADE_SECONDS = 30.0
"""How long another replica is looked for: a load balancer or the next origin may lead to an upgraded one."""


def is_passing(error: Failure) -> bool:
    """Return whether the same call may succeed later."""
    return error.code in PASSING if isinstance(error, CallError) else not isinstance(error, UnusableAnswer)


def until_answered(
    call: Callable[[], T],
    *,
    repeats: Callable[[Failure], bool] = is_passing,
    backoff: Backoff | None = None,
    sleep: Callable[[float], object] = time.sleep,
) -> T:
    """Return the answer of a call, which is sent again with growing pauses while ``repeats`` accepts its error.

    Raises the first error that ``repeats`` does not accept.
    """
    pauses = backoff or Backoff()
    while True:
        try:
            return call()
        except (CallError, NoAnswer) as error:
            if not repeats(error):
                raise
        sleep(pauses.next())


async def until_answered_async(
    call: Callable[[], Awaitable[T]],
    *,
    repeats: Callable[[Failure], bool] = is_passing,
    backoff: Backoff | None = None,
) -> T:
    """Return the answer of an asynchronous call; see ``until_answered``."""
    import asyncio  # not for callers that block

    pauses = backoff or Backoff()
    while True:
        try:
            return await call()
        except (CallError, NoAnswer) as error:
            if not repeats(error):
                raise
        await asyncio.sleep(pauses.next())


class UpgradeWait:
    """How long a call is repeated because the replicas that answer do not know its procedure.

    During an upgrade some replicas know a procedure that others do not know yet.
    """

    def __init__(self) -> None:
        self._until: float | None = None

    def allows(self, error: CallError) -> bool:
        """Return whether to ask another replica after this error."""
        if error.reason != NO_SUCH_PROCEDURE:
            return False
        now = time.monotonic()
        if self._until is None:
            self._until = now + UPGRADE_SECONDS
        return now < self._until

    def renew(self) -> None:
        """Note that a replica knows the procedure: the next unknown one gets the whole time again."""
        self._until = None
