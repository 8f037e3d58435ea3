"""Ports for jobs: each job has 20 of them that no other job on the machine has.

A range is reserved by a socket that is bound to the port after it. Every process of the job keeps the socket open, so
the kernel frees the range when the last of them has ended, however that happens. Ports and sockets belong to the same
network namespace: containers with a network of their own do not see each other's.
"""

from __future__ import annotations

import contextlib
import errno
import re
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

COUNT = 20
VARIABLE = "ADO_PORT_BASE"
_STRIDE = COUNT + 1
_FIRST, _LAST = 1024, 65535
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_EPHEMERAL_ELSEWHERE = range(49152, 65536)  # RFC 6335; also what macOS uses
_RANGE = re.compile(r"(\d{1,5})-(\d{1,5})")


def parse_ports(text: str) -> range:
    """Return the ports of FIRST-LAST. Raises ValueError."""
    match = _RANGE.fullmatch(text.strip())
    first, last = (int(match[1]), int(match[2])) if match else (0, 0)
    if not _FIRST <= first <= last <= _LAST:
        raise ValueError(f"{text!r} is no range of ports from {_FIRST} to {_LAST}, such as 20000-29999")
    if last - first < COUNT:
        raise ValueError(f"{text!r} has fewer than {_STRIDE} ports")
    return range(first, last + 1)


def ephemeral_ports() -> range:
    """Return the ports from which the kernel chooses one for a client; a server there fails now and then."""
    try:
        first, last = (int(word) for word in _EPHEMERAL.read_text("ascii").split())
    except (OSError, ValueError):
        return _EPHEMERAL_ELSEWHERE
    return range(first, last + 1)


def bases(ports: range, ephemeral: range) -> list[int]:
    """Return the first ports of the ranges that lie in ``ports`` and outside the ephemeral ones."""
    firsts = range(ports.start, ports.stop - COUNT, _STRIDE)
    return [base for base in firsts if base + COUNT < ephemeral.start or base >= ephemeral.stop]


@contextlib.contextmanager
def reserved(candidates: list[int]) -> Iterator[tuple[int, socket.socket]]:
    """Reserve a range; yield its first port, and the socket that reserves it. Raises OSError if none is free.

    The search begins anywhere, so that a range is not used again at once, while old connections end.
    """
    start = secrets.randbelow(len(candidates)) if candidates else 0
    for base in (*candidates[start:], *candidates[:start]):
        guard = _bind("127.0.0.1", base + COUNT)
        if guard is None:
            continue
        with guard:
            if all(_is_free(port) for port in range(base, base + COUNT)):
                yield base, guard
                return
    raise OSError(
        errno.EAGAIN, f"no ports are free for the job: all {len(candidates)} ranges of ADO_JOB_PORTS are in use"
    )


def _bind(host: str, port: int) -> socket.socket | None:
    """Bind a socket to a port, for itself alone; return None if the port is in use."""
    guard = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        guard.bind((host, port))
    except OSError:
        guard.close()
        return None
    return guard


def _is_free(port: int) -> bool:
    """Whether no program of the machine listens on a port; connections that are ending do not count."""
    for family, host in ((socket.AF_INET, ""), (socket.AF_INET6, "::")):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind((host, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
    return True
