"""The connections of a replica: how many there may be, and which one gives way when there is no room.

A connection is opening until its caller is known. Only opening connections give way, the oldest first: whoever holds
hundreds of them loses them to newcomers, and a valid caller is known within milliseconds. Connections from a trusted
proxy are the proxy's to limit by address; here they count in total alone.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from app.access.sign_ins import network_of
from app.replica.tls import has_certificate

SWEEP_SECONDS = 0.25
_OPENING_ADDRESSES = 4
"""So many addresses may have as many opening connections as one may: together 64 MiB of heads at most."""
_LEAVING = 16
"""Connections that were refused or gave way and may still read why; they are not counted, so they must be few."""
_LAST_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How many connections there may be; 0: no limit for one address."""

    connections: int
    of_address: int
    opening_of_address: int
    stalled_seconds: float
    """Time in which a peer must take some of what is sent to it."""


class Peer:
    """One connection; ``end`` is called with True when its time is over, with False when it must give way."""

    def __init__(self, peers: Peers, transport: asyncio.Transport, address: str, end: Callable[[bool], None]) -> None:
        self.transport = transport
        self.address = network_of(address)
        self.end = end
        self.known = False
        self.certified = has_certificate(transport)
        self.signing_in = False
        self.on_known: Callable[[], None] | None = None
        self.deadline: float | None = None
        self._peers = peers
        self._dropping: int | None = None
        self._unsent = 0
        self._moved_at = 0.0

    def signed_in(self) -> None:
        """Lift the limits for callers that are not known."""
        if not self.known:
            self.known = True
            self._peers.no_longer_opening(self)
            if self.on_known is not None:
                self.on_known()

    def left(self) -> None:
        """Take note that the connection has ended."""
        self._peers.remove(self)

    def finish(self, size: int, seconds: float = _LAST_SECONDS) -> None:
        """Send no more, and drop what still comes: closing with unread data would reset what was sent last."""
        if self._dropping is None and not self.transport.is_closing():
            self._dropping = size
            self.deadline = self._peers.now() + seconds
            if self.transport.can_write_eof():
                self.transport.write_eof()
            self.transport.resume_reading()

    def drops(self, size: int) -> bool:
        """Whether what came is dropped; too much of it ends the connection."""
        if self._dropping is None:
            return self.transport.is_closing()
        self._dropping -= size
        if self._dropping < 0:
            self.transport.abort()
        return True

    def check(self, now: float, stalled_seconds: float) -> None:
        """End the connection when its time is over or its peer takes nothing of what is sent."""
        if self.deadline is not None and now > self.deadline:
            self.deadline = None
            if self._dropping is not None:
                self.transport.abort()
            else:
                self.end(True)
            return
        unsent = self.transport.get_write_buffer_size()
        if unsent != self._unsent or unsent == 0:
            self._unsent, self._moved_at = unsent, now
        elif now - self._moved_at > (stalled_seconds if self.known else _LAST_SECONDS):
            self.transport.abort()


@dataclass(slots=True)
class _Address:
    count: int = 0
    opening: dict[Peer, None] = field(default_factory=dict)


class Peers:
    """All connections of one replica."""

    def __init__(
        self, limits: ConnectionLimits, trusted: Iterable[str] = (), now: Callable[[], float] | None = None
    ) -> None:
        self.now = now or asyncio.get_running_loop().time
        self._limits = limits
        self._trusted = [ipaddress.ip_network(text, strict=False) for text in trusted]
        self._all: dict[Peer, None] = {}
        self._opening: dict[Peer, None] = {}
        self._addresses: dict[str, _Address] = {}
        self._leaving: dict[Peer, None] = {}

    def __len__(self) -> int:
        return len(self._all)

    def admit(self, peer: Peer) -> bool:
        """Take a connection if there is room or another one can give way; else it may only be answered and ended."""
        if not self._has_room(peer.address):
            self._let_leave(peer)
            return False
        self._all[peer] = self._opening[peer] = None
        address = self._addresses.setdefault(peer.address, _Address())
        address.count += 1
        address.opening[peer] = None
        return True

    def remove(self, peer: Peer) -> None:
        """Forget a connection that has ended or gives way."""
        self._leaving.pop(peer, None)
        if peer in self._all:
            del self._all[peer]
            self.no_longer_opening(peer)
            address = self._addresses[peer.address]
            address.count -= 1
            if not address.count:
                del self._addresses[peer.address]

    def no_longer_opening(self, peer: Peer) -> None:
        """Take note that a caller is known."""
        if peer in self._opening:
            del self._opening[peer]
            del self._addresses[peer.address].opening[peer]

    def sweep(self) -> None:
        """End what is over; called every ``SWEEP_SECONDS``."""
        now = self.now()
        for peer in [*self._all, *self._leaving]:
            peer.check(now, self._limits.stalled_seconds)

    async def watch(self) -> None:
        """Sweep until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.sweep()

    def _has_room(self, name: str) -> bool:
        limits, address = self._limits, self._addresses.get(name) or _Address()
        limited = not self._is_trusted(name)
        if limited and len(address.opening) >= limits.opening_of_address:
            self._one_gives_way(address.opening)
        if len(self._opening) >= limits.opening_of_address * _OPENING_ADDRESSES:
            self._one_gives_way(self._opening)
        if limited and 0 < limits.of_address <= address.count:
            return self._one_gives_way(address.opening)
        return len(self._all) < limits.connections or self._one_gives_way(self._opening)

    def _one_gives_way(self, opening: dict[Peer, None]) -> bool:
        oldest = next((peer for peer in opening if not peer.signing_in), None)
        if oldest is None:
            return False
        self.remove(oldest)
        self._let_leave(oldest)
        oldest.end(False)
        return True

    def _let_leave(self, peer: Peer) -> None:
        while len(self._leaving) >= _LEAVING:
            oldest = next(iter(self._leaving))
            del self._leaving[oldest]
            oldest.transport.abort()
        self._leaving[peer] = None

    def _is_trusted(self, name: str) -> bool:
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return any(address in network for network in self._trusted)
