"""Addresses and tokens that no request can be sent with are refused before any is sent."""

import pytest

from cli.errors import CliError
from cli.remote.addresses import check_origin, check_token, origins
from cli.remote.connection import ServerOptions, choose

VALID = ["http://127.0.0.1:7421", "https://ado.example", "http://[2001:db8::1]:1", "https://a_b.example/", "http://x:1"]
INVALID = ["http://[", "ado.example", "ftp://ado.example", "http://", "http://x:99999", "http://x:0", "http://x:y", "",
           "http://a b", "http://x:1/trpc", "http://x?a=b", "http://x#a", "http://me@x",
           "http://\u202e", "http://" + "x" * 300]  # fmt: skip


@pytest.mark.parametrize("url", VALID)
def test_a_valid_origin_is_unchanged(url):
    check_origin(url)
    assert origins(f" {url} ,") == (url,)


@pytest.mark.parametrize("url", INVALID)
def test_an_invalid_origin_is_refused_with_an_example(url):
    with pytest.raises(CliError, match="no address of a server") as caught:
        check_origin(url)
    assert "https://ado.example" in caught.value.next_step


@pytest.mark.parametrize("text", ["", " ", ",", " , ,"])
def test_a_list_without_an_address_is_refused(text):
    with pytest.raises(CliError, match="no address of a server is given"):
        origins(text)


@pytest.mark.parametrize("token", ["a b", "a\r\nX: y", "tökn", "\x7f", "\udcff"])
def test_a_token_that_no_header_can_carry_is_refused(token):
    with pytest.raises(CliError, match="the token holds"):
        check_token(token)


def test_origin_and_token_are_checked_where_a_server_is_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv("ADO_HOME", str(tmp_path))
    with pytest.raises(CliError, match="no address"):
        choose(ServerOptions(url="http://[", token="t"))
    with pytest.raises(CliError, match="the token holds"):
        choose(ServerOptions(url="http://127.0.0.1:9", token="a b"))
