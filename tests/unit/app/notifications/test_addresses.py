"""Which addresses notifications may be sent to."""

import pytest

from app.notifications.addresses import AddressRefused, WebhookUrl, is_public, parse_url, resolve

PRIVATE = [
    "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
    "255.255.255.255", "240.0.0.1", "::", "::1", "fe80::1", "fe80::1%eth0", "fd00::1", "ff02::1",
    "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a00:1", "64:ff9b::a9fe:a9fe", "2002:a00:1::",
    "2002:7f00:1::",     "2001:0:4136:e378:8000:63bf:3fff:fdd2", "no address", "",
]  # fmt: skip
PUBLIC = ["1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_on_the_public_internet_is_recognized(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_recognized(address):
    assert is_public(address)


def test_a_url_gives_the_parts_of_a_request():
    expected = WebhookUrl(True, "a.test", 8443, "A.test:8443", "/x?y=1")
    assert parse_url("https://A.test:8443/x?y=1#z", frozenset()) == expected
    assert parse_url("https://a.test", frozenset()) == WebhookUrl(True, "a.test", 443, "a.test", "/")
    assert parse_url("http://[::1]", frozenset({"::1"})) == WebhookUrl(False, "::1", 80, "[::1]", "/")


@pytest.mark.parametrize(
    "url",
    [
        "", "a.test/x", "ftp://a.test", "file:///etc/passwd", "https://", "https:///x", "https://a.test:0", "https://a.test:x",
        "https://a.test:99999", "https://user@a.test", "https://:secret@a.test", "https://a.test/ x", "https://a.test/\n",
        "https://a.test/\x7f", "https://ä.test", "https://[::1", "https://a.test/" + "x" * 2000, "http://a.test",
    ],
)  # fmt: skip
def test_a_url_that_cannot_be_a_target_is_refused(url):
    with pytest.raises(AddressRefused):
        parse_url(url, frozenset({"b.test"}))


def test_http_needs_a_named_host():
    assert not parse_url("http://b.test./x", frozenset({"b.test"})).tls


async def test_a_private_host_needs_to_be_named():
    url = parse_url("https://127.0.0.1:1", frozenset())
    with pytest.raises(AddressRefused, match="ADO_NOTIFY_HOSTS"):
        await resolve(url, frozenset())
    assert await resolve(url, frozenset({"127.0.0.1"})) == "127.0.0.1"


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "0177.0.0.1", "localhost"])
async def test_other_spellings_of_a_private_address_are_refused(host):
    with pytest.raises((AddressRefused, OSError)):
        await resolve(parse_url(f"https://{host}/", frozenset()), frozenset())
