"""A reserved port of a test is nobody else's, and its server can start again."""

import contextlib
import errno
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from ctypes import CDLL
from pathlib import Path

import pytest
from support.ports import reserved_port

NEW_NETWORK = 0x40000000
FIRST, LAST = 40000, 40003


@pytest.mark.namespaces
def test_only_the_server_that_asks_for_a_reserved_port_gets_it():
    def in_a_network_with_four_ports():
        assert CDLL(None).unshare(NEW_NETWORK) == 0
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=60)
        Path("/proc/sys/net/ipv4/ip_local_port_range").write_text(f"{FIRST} {LAST}")
        with reserved_port() as port, contextlib.ExitStack() as stack:
            others = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(LAST - FIRST)]
            assert port not in {other.getsockname()[1] for other in others}
            with pytest.raises(OSError, match="in use"):
                socket.create_server(("127.0.0.1", 0))
            for _ in range(2):
                with socket.socket() as client:
                    client.bind(("127.0.0.1", LAST + 1))  # no other port is left
                    assert client.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED
                with socket.create_server(("127.0.0.1", port)):
                    pass

    with ThreadPoolExecutor(1) as thread:
        thread.submit(in_a_network_with_four_ports).result()
