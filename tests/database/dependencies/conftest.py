"""A worker that claims as many jobs as a test makes."""

import pytest
from support.records import register


@pytest.fixture(autouse=True)
async def worker(db):
    return await register(db, slots=5000)
