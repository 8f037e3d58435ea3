"""Hands an address to one browser of this user, without the arguments of a process.

A browser's opener takes an address as an argument, and every user of the machine can read that. So it gets the address
of a listener on loopback, which answers the first visit with a redirect. The listener asks Linux whose socket the
visitor's is: another user who has read the argument is refused, and the listener goes on waiting for the browser. root
is not refused, because it can read everything anyway, and it forwards connections between some systems.
"""

from __future__ import annotations

import http.server
import os
import secrets
import socketserver
import struct
import threading
from pathlib import Path
from typing import Any

_SOCKETS = {Path("/proc/net/tcp"): "", Path("/proc/net/tcp6"): f"{0:016X}FFFF0000"}
"""The lists of sockets, and what an IPv4 address begins with in them: some programs open every socket as IPv6."""
_SILENT_SECONDS = 5.0
"""Browsers open sockets ahead of need and send nothing on some of them."""


class Handover:
    """A listener that redirects one visitor; ``with`` ends it."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._path = f"/{secrets.token_hex(16)}"
        self._lock = threading.Lock()
        self._visited = threading.Event()

    @staticmethod
    def is_possible() -> bool:
        """Whether this system tells to whom a socket belongs."""
        return any(path.exists() for path in _SOCKETS)

    def __enter__(self) -> Handover:
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="handover", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def address(self) -> str:
        """What the browser is to open; it serves this user once."""
        return f"http://127.0.0.1:{self._server.server_address[1]}{self._path}"

    def wait(self, seconds: float) -> bool:
        """Wait for the visitor; return whether it came."""
        return self._visited.wait(seconds)

    def _take(self) -> bool:
        with self._lock:
            first = not self._visited.is_set()
            self._visited.set()
            return first

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        handover = self

        class Handler(http.server.BaseHTTPRequestHandler):
            timeout = _SILENT_SECONDS

            def do_GET(self) -> None:
                if self.path != handover._path:
                    self._answer(404)
                elif owner_of(self.client_address, self.server.server_address) not in (0, os.geteuid()):
                    self._answer(403)
                elif handover._take():
                    self._answer(302, ("Location", handover._address))
                else:
                    self._answer(410)

            def _answer(self, status: int, *headers: tuple[str, str]) -> None:
                self.send_response(status)
                for name, value in (*headers, ("Cache-Control", "no-store"), ("Content-Length", "0")):
                    self.send_header(name, value)
                self.send_header("Connection", "close")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


def owner_of(near: Any, far: Any) -> int | None:
    """Return the user id of the process whose IPv4 socket on this machine is at ``near``, connected to ``far``."""
    for path, before in _SOCKETS.items():
        wanted = [before + _written(near), before + _written(far)]
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            columns = line.split()
            if columns[1:3] == wanted:
                return int(columns[7])
    return None


def _written(address: Any) -> str:
    """Return an address as the kernel writes it: the four bytes as one number of this machine's, then the port."""
    host, port = address
    (number,) = struct.unpack("=I", bytes(map(int, host.split("."))))
    return f"{number:08X}:{port:04X}"
