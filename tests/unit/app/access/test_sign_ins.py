"""Wrong tokens are slowed down by address; memory is bounded, and a valid caller waits for no sleep of others."""

import asyncio

import pytest

from app.access import sign_ins
from app.access.sign_ins import FailedSignIns, network_of


async def test_an_address_over_its_allowance_is_delayed_and_others_are_not():
    failed = FailedSignIns(3)
    assert [failed.record_failure("10.0.0.1") for _ in range(3)] == [0] * 3
    assert failed.record_failure("10.0.0.1") > 0
    assert failed.record_failure("10.0.0.2") == 0


async def test_a_wrong_token_beyond_the_allowance_waits(monkeypatch):
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    failed = FailedSignIns(2)
    for _ in range(5):
        await failed.slow_down("10.0.0.1")
    assert waits == [1.0, 1.0, 1.0]


async def test_a_flood_of_addresses_is_remembered_in_bounded_memory(monkeypatch):
    monkeypatch.setattr(sign_ins, "_ADDRESSES", 100)
    failed = FailedSignIns(1)
    for number in range(1000):
        failed.record_failure(f"10.0.{number // 250}.{number % 250}")
    assert len(failed) == 100
    assert failed.record_failure("10.0.3.249") > 0  # the latest ones are remembered


async def test_look_ups_of_throttled_addresses_do_not_block_others():
    """Two of them at once; an address that sent no wrong token does not wait for them."""
    failed = FailedSignIns(1)
    for _ in range(3):
        failed.record_failure("10.0.0.1")
    async with failed.lookup("10.0.0.1"), failed.lookup("10.0.0.1"):
        third = asyncio.create_task(failed.lookup("10.0.0.1").__aenter__())
        async with failed.lookup("10.0.0.2"):
            assert not third.done()
        third.cancel()
        await asyncio.gather(third, return_exceptions=True)


@pytest.mark.parametrize(
    ("address", "network"),
    [("10.0.0.1", "10.0.0.1"), ("::ffff:10.0.0.1", "10.0.0.1"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
     ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"), ("::1", "::/64"), ("", ""), ("unix", "unix")],
)  # fmt: skip
def test_addresses_of_one_ipv6_network_share_an_allowance(address, network):
    assert network_of(address) == network
