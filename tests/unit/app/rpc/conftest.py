"""The wire on a port."""

import pytest
from support.wire import Gate, Served

from app.rpc.server.gate import WireLimits

LIMITS = WireLimits(body_bytes=100_000, recheck_seconds=0.05, subscriptions=3, batch_calls=5)


@pytest.fixture
async def served():
    async with Served(Gate(), LIMITS) as made:
        yield made
