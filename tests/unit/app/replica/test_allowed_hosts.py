"""The name in a Host header."""

import pytest

from app.replica.allowed_hosts import host_name, is_loopback


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost", "localhost"),
        ("localhost:7421", "localhost"),
        ("127.0.0.1:1", "127.0.0.1"),
        ("[::1]", "::1"),
        ("[::1]:7421", "::1"),
        ("ado.localhost:7421", "ado.localhost"),
        ("evil.example:80", "evil.example"),
    ],
)
def test_a_name_is_read_without_its_port(header, name):
    assert host_name(header) == name


@pytest.mark.parametrize(
    "header",
    ["", "127.0.0.1:80.evil.example", "[::1].evil.example", "[::1", "127.0.0.1:", "::1", "localhost:7:8", ":80"],
)
def test_what_is_no_name_and_port_is_not_loopback(header):
    assert not is_loopback(host_name(header))
