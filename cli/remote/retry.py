"""Calls that may arrive twice, sent until a server answers."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from app.rpc.client import CallError, InvalidAnswer, Unreachable
from cli.output import talk

FIRST_CONTACT_SECONDS = 10.0
_LONGEST_PAUSE = 1.0
_PASSING = frozenset({"SERVICE_UNAVAILABLE", "INTERNAL_SERVER_ERROR", "TOO_MANY_REQUESTS"})

T = TypeVar("T")


def until_answered(call: Callable[[], T], *, for_ever: bool = False) -> T:
    """Return the answer of a call that is safe to repeat; without ``for_ever`` no server is given ten seconds.

    Raises CallError, Unreachable.
    """
    end = time.monotonic() + FIRST_CONTACT_SECONDS
    pause = 0.05
    told = False
    while True:
        try:
            return call()
        except (CallError, Unreachable) as error:
            passing = error.code in _PASSING if isinstance(error, CallError) else not isinstance(error, InvalidAnswer)
            if not passing or (not for_ever and time.monotonic() > end):
                raise
            if not told:
                talk(f"ado: no answer ({error}), retrying")
                told = True
        time.sleep(random.uniform(pause / 2, pause))  # noqa: S311
        pause = min(_LONGEST_PAUSE, pause * 2)
