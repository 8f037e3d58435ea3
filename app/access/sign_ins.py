"""Slows down callers who guess tokens, by address, once a token of theirs was wrong."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections import OrderedDict
from contextlib import AbstractAsyncContextManager

from app.rpc.rate import RateLimit

_SECONDS = 10
"""Time in which ``allowed`` wrong tokens of an address are answered at once."""
_WAIT_SECONDS = 1.0
_ADDRESSES = 10_000
"""Remembered, the latest ones; each takes about 200 bytes."""
_LOOKUPS = 2
"""Concurrent look-ups for all addresses above the limit, so that the others keep the database."""


class FailedSignIns:
    """The addresses that recently sent wrong tokens."""

    def __init__(self, allowed: int) -> None:
        self._allowed = allowed
        self._limits: OrderedDict[str, RateLimit] = OrderedDict()
        self._lookups = asyncio.Semaphore(_LOOKUPS)

    def __len__(self) -> int:
        return len(self._limits)

    def lookup(self, address: str) -> AbstractAsyncContextManager[object]:
        """Return the context in which to look up a token of this address."""
        limit = self._limits.get(network_of(address))
        return self._lookups if limit is not None and limit.remaining() else contextlib.nullcontext()

    def record_failure(self, address: str) -> float:
        """Count a wrong token; return how many seconds too early it came, 0 within the limit."""
        network = network_of(address)
        limit = self._limits.pop(network, None) or RateLimit(self._allowed / _SECONDS, self._allowed)
        self._limits[network] = limit
        if len(self._limits) > _ADDRESSES:
            self._limits.popitem(last=False)
        return limit.take()

    async def slow_down(self, address: str) -> None:
        """Count a wrong token, and wait before its answer when the address is above the limit."""
        if self.record_failure(address):
            await asyncio.sleep(_WAIT_SECONDS)


def network_of(address: str) -> str:
    """Return an IPv4 address, or the /64 network of an IPv6 one, because a customer has a whole /64."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
