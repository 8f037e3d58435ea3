"""Ports for servers that a test starts later."""

import contextlib
import socket
import sys


@contextlib.contextmanager
def reserved_port():
    """Give a port of loopback that no other test is given meanwhile, and on which a server may listen.

    A port that is only chosen and closed again is free for everybody: a server of another test would take it before
    this test's own server does, and answer in its place.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        if sys.platform != "linux":  # elsewhere no server could listen beside it
            holder.close()
        yield port
