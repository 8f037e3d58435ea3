"""``--start-within`` from the command line to the end, and times without a zone."""

from datetime import UTC, datetime, timedelta

import pytest
from support.program import Cluster

from app.rpc.client import CallError, Client


@pytest.fixture
def in_tokyo(dsn, home):
    """Two replicas whose own time zone is nine hours ahead."""
    cluster = Cluster(dsn, home, env={"TZ": "Asia/Tokyo"})
    try:
        yield cluster.add_replicas(2)
    finally:
        cluster.close()


def test_a_job_that_is_not_claimed_in_time_ends_the_run_with_a_reason(cluster):
    cluster.ado("run", "--remote", "--agent", "nobody", "--start-within", "0.3s", "x", check=125)
    task = cluster.task("task-1")
    assert (task["status"], task["reason"], task["startWithinSeconds"]) == ("failed", "not_started", 0.3)
    assert task["message"] == "not started within 0.3 s: no live worker offers nobody"
    assert task["startBy"] > task["createdAt"]


def test_a_job_that_is_claimed_in_time_has_no_limit(cluster):
    cluster.add_worker("w1")
    done = cluster.ado("run", "--remote", "--agent", "shell", "--start-within", "60s", "sleep 1; echo done", check=0)
    assert done.stdout == b"done\n"


def test_a_start_limit_needs_a_server(cluster):
    assert cluster.ado("run", "--agent", "shell", "--start-within", "1h", "x").returncode == 2


async def read_since(cluster, task, since):
    wish = {"taskId": task, "follow": False, "since": since}
    async with Client(cluster.urls, cluster.token) as client:
        return [item.data["type"] async for item in client.subscribe("stream.taskEvents", wish)]


async def test_since_without_a_zone_is_utc(in_tokyo):
    wish = ["run", "--remote", "--detach", "--agent", "x", "-o", "name", "x"]
    task = in_tokyo.ado(*wish).stdout.decode().strip()
    in_a_second = datetime.now(UTC).replace(tzinfo=None) + timedelta(seconds=1)
    assert await read_since(in_tokyo, task, in_a_second.isoformat()) == []
    assert await read_since(in_tokyo, task, (in_a_second - timedelta(hours=1)).isoformat()) == ["created"]
    with pytest.raises(CallError) as refused:
        await read_since(in_tokyo, task, "0001-01-01T00:00:00+14:00")
    assert (refused.value.reason, refused.value.data["field"]) == ("invalid_input", "since")
