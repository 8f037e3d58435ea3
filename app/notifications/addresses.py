"""Which addresses notifications may be sent to.

Whoever may add a target chooses what the replicas connect to. So targets are on the public internet, unless the
operator names their host in ADO_NOTIFY_HOSTS: otherwise a target could reach services that only the replicas' network
reaches (server-side request forgery). A name is resolved again for each delivery, and the connection goes to the
address that was checked, because a name can change between a check and its use.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

_IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_URL_CHARS = 2000


class AddressRefused(ValueError):
    """Notifications may not be sent there; the message says why and what would help."""


@dataclass(frozen=True, slots=True)
class WebhookUrl:
    """The parts of a URL that a request needs."""

    tls: bool
    host: str
    port: int
    authority: str
    """The Host header."""
    target: str
    """Path and query."""


def parse_url(url: str, named_hosts: Collection[str]) -> WebhookUrl:
    """Return the parts of a target's URL. Raises AddressRefused."""
    if len(url) > _URL_CHARS or not url.isascii() or not url.isprintable() or " " in url:
        raise AddressRefused(f"a URL of at most {_URL_CHARS} printable ASCII characters without spaces is needed")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise AddressRefused(f"it is not a URL: {error}") from None
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise AddressRefused("it must start with https:// and a host")
    if parts.username is not None or parts.password is not None:
        raise AddressRefused("it must not contain a user or a password; lists show a part of it")
    host = host.rstrip(".").lower()
    if parts.scheme == "http" and host not in named_hosts:
        raise AddressRefused("http:// is allowed only for hosts in ADO_NOTIFY_HOSTS of the replicas; use https://")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    tls = parts.scheme == "https"
    return WebhookUrl(tls, host, port or (443 if tls else 80), parts.netloc, target)


async def resolve(url: WebhookUrl, named_hosts: Collection[str]) -> str:
    """Return the address to connect to. Raises AddressRefused, or OSError where the name has none."""
    resolved = await asyncio.get_running_loop().getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
    addresses = [str(item[4][0]) for item in resolved]
    if url.host in named_hosts:
        return addresses[0]
    for address in addresses:
        if is_public(address):
            return address
    raise AddressRefused(f"{url.host} is not on the public internet; the operator allows it by ADO_NOTIFY_HOSTS")


def is_public(text: str) -> bool:
    """Whether an address is on the public internet, also by an IPv4 address inside it."""
    try:
        address: _IPAddress = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return all(part.is_global and not part.is_multicast and not part.is_reserved for part in _with_embedded(address))


def _with_embedded(address: _IPAddress) -> list[_IPAddress]:
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    embedded: list[_IPAddress] = [address]
    if address.sixtofour is not None:
        embedded.append(address.sixtofour)
    if address.teredo is not None:
        embedded += address.teredo
    if address in _NAT64:
        embedded = [ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)]
    return embedded
