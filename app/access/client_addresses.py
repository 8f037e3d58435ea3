"""Addresses of clients, as far as they tell one client from another."""

from __future__ import annotations

import ipaddress


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
