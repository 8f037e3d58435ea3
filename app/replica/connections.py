"""The connections of a replica: their limits, and which connection is evicted for a new one.

A connection is opening until its caller is known, which takes milliseconds for a valid caller. Only opening connections
are evicted, the oldest first, so an attacker that holds hundreds of them loses them to new clients. The limits by
address do not apply to a trusted proxy, which has many clients behind one address; the total does.
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
"""All opening connections: as many as so many addresses may have. Their heads take at most 64 MiB."""
_REFUSED = 16
"""Refused and evicted connections that may still read the reason; no limit counts them, so they must be few."""
_LAST_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How many connections there may be; ``of_address`` 0 means no limit."""

    connections: int
    of_address: int
    opening_of_address: int
    stalled_seconds: float
    """Time in which a peer must take some of the bytes that are sent to it."""


class Peer:
    """One connection; ``end`` is called with True when its time is over, with False when it is evicted."""

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
        self._discard_limit: int | None = None
        """Bytes that may still arrive and are discarded; None while the connection is served."""
        self._unsent = 0
        self._moved_at = 0.0
        """When the number of unsent bytes last changed."""

    def signed_in(self) -> None:
        """Lift the limits for unknown callers."""
        if not self.known:
            self.known = True
            self._peers.no_longer_opening(self)
            if self.on_known is not None:
                self.on_known()

    def closed(self) -> None:
        """Remove the connection, which has ended."""
        self._peers.remove(self)

    def finish(self, size: int, seconds: float = _LAST_SECONDS) -> None:
        """Send no more and discard what arrives, ``size`` bytes at most.

        A close with unread data would reset the connection, and the peer would lose the last bytes sent to it.
        """
        if self._discard_limit is None and not self.transport.is_closing():
            self._discard_limit = size
            self.deadline = self._peers.now() + seconds
            if self.transport.can_write_eof():
                self.transport.write_eof()
            self.transport.resume_reading()

    def discards(self, size: int) -> bool:
        """Return whether arriving bytes are discarded; too many of them end the connection."""
        if self._discard_limit is None:
            return self.transport.is_closing()
        self._discard_limit -= size
        if self._discard_limit < 0:
            self.transport.abort()
        return True

    def check(self, now: float, stalled_seconds: float) -> None:
        """End the connection when its time is over, or when its peer takes none of the bytes sent to it."""
        if self.deadline is not None and now > self.deadline:
            self.deadline = None
            if self._discard_limit is not None:
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
        self._refused: dict[Peer, None] = {}

    def __len__(self) -> int:
        return len(self._all)

    def admit(self, peer: Peer) -> bool:
        """Admit a connection if there is room or another can be evicted; else it may only get an answer and end."""
        if not self._make_room(peer.address):
            self._keep_until_read(peer)
            return False
        self._all[peer] = self._opening[peer] = None
        address = self._addresses.setdefault(peer.address, _Address())
        address.count += 1
        address.opening[peer] = None
        return True

    def remove(self, peer: Peer) -> None:
        """Remove a connection that has ended or is evicted."""
        self._refused.pop(peer, None)
        if peer in self._all:
            del self._all[peer]
            self.no_longer_opening(peer)
            address = self._addresses[peer.address]
            address.count -= 1
            if not address.count:
                del self._addresses[peer.address]

    def no_longer_opening(self, peer: Peer) -> None:
        """Count a connection as one whose caller is known."""
        if peer in self._opening:
            del self._opening[peer]
            del self._addresses[peer.address].opening[peer]

    def sweep(self) -> None:
        """End connections whose time is over; called every ``SWEEP_SECONDS``."""
        now = self.now()
        for peer in [*self._all, *self._refused]:
            peer.check(now, self._limits.stalled_seconds)

    async def watch(self) -> None:
        """Sweep until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.sweep()

    def _make_room(self, name: str) -> bool:
        """Return whether an address may have another connection, after evicting opening ones above the limits."""
        limits, address = self._limits, self._addresses.get(name) or _Address()
        limited = not self._is_trusted(name)
        if limited and len(address.opening) >= limits.opening_of_address:
            self._evict_oldest(address.opening)
        if len(self._opening) >= limits.opening_of_address * _OPENING_ADDRESSES:
            self._evict_oldest(self._opening)
        if limited and 0 < limits.of_address <= address.count:
            return self._evict_oldest(address.opening)
        return len(self._all) < limits.connections or self._evict_oldest(self._opening)

    def _evict_oldest(self, opening: dict[Peer, None]) -> bool:
        """Evict the oldest connection whose credentials are not being checked; return False if there is none."""
        oldest = next((peer for peer in opening if not peer.signing_in), None)
        if oldest is None:
            return False
        self.remove(oldest)
        self._keep_until_read(oldest)
        oldest.end(False)
        return True

    def _keep_until_read(self, peer: Peer) -> None:
        """Let a refused or evicted client read the reason; abort the oldest of too many such connections."""
        while len(self._refused) >= _REFUSED:
            oldest = next(iter(self._refused))
            del self._refused[oldest]
            oldest.transport.abort()
        self._refused[peer] = None

    def _is_trusted(self, name: str) -> bool:
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return any(address in network for network in self._trusted)
