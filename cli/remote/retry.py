"""How long a command repeats a call for which no server has an answer yet."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from app.rpc.backoff import Backoff
from app.rpc.client import retry
from cli.output import talk

FIRST_CONTACT_SECONDS = 10.0
_LONGEST_PAUSE_SECONDS = 1.0  # a person is waiting

T = TypeVar("T")


def until_answered(call: Callable[[], T], *, for_ever: bool = False) -> T:
    """Return the answer of a call that may arrive twice, and tell the person once that it is repeated.

    Without ``for_ever`` a command gives up after ten seconds. Raises CallError, NoAnswer.
    """
    end = time.monotonic() + FIRST_CONTACT_SECONDS
    is_first = True

    def repeats(error: retry.Failure) -> bool:
        nonlocal is_first
        if not retry.is_passing(error) or (not for_ever and time.monotonic() > end):
            return False
        if is_first:
            talk(f"ado: no answer ({error}), retrying")
            is_first = False
        return True

    return retry.until_answered(call, repeats=repeats, backoff=Backoff(longest=_LONGEST_PAUSE_SECONDS))
