"""Slowing down callers who try tokens: by address, and only after their token has turned out to be wrong."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections import OrderedDict
from contextlib import AbstractAsyncContextManager

from app.rpc.rate import RateLimit

_SECONDS = 10
"""In which a number of wrong tokens is answered at once."""
_WAIT_SECONDS = 1.0
_ADDRESSES = 10_000
"""Remembered at most, the latest ones: some 200 bytes each."""
_LOOKUPS = 2
"""At once for all addresses that sent too many: they must not take the database from everybody else."""


class FailedSignIns:
    """The addresses that wrong tokens came from of late."""

    def __init__(self, allowed: int) -> None:
        self._allowed = allowed
        self._paces: OrderedDict[str, RateLimit] = OrderedDict()
        self._lookups = asyncio.Semaphore(_LOOKUPS)

    def __len__(self) -> int:
        return len(self._paces)

    def lookup(self, address: str) -> AbstractAsyncContextManager[object]:
        """Return what to hold while a token is looked up."""
        pace = self._paces.get(network_of(address))
        return self._lookups if pace is not None and pace.remaining() else contextlib.nullcontext()

    def early(self, address: str) -> float:
        """Take note of a wrong token; return by how many seconds it comes too early, 0 when it is in time."""
        network = network_of(address)
        pace = self._paces.pop(network, None) or RateLimit(self._allowed / _SECONDS, self._allowed)
        self._paces[network] = pace
        if len(self._paces) > _ADDRESSES:
            self._paces.popitem(last=False)
        return pace.take()

    async def slow_down(self, address: str) -> None:
        """Wait before a wrong token is answered, where too many came."""
        if self.early(address):
            await asyncio.sleep(_WAIT_SECONDS)


def network_of(address: str) -> str:
    """Return an IPv4 address, or of IPv6 the /64 network: each of its customers has one to choose addresses from."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False))
