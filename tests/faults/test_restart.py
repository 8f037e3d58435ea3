"""Replicas are restarted, by the rules and by force, while fifty clients watch."""

import asyncio
import re
import signal
import urllib.request

import pytest
from support.program import Cluster, until
from support.readers import read_through

CLIENTS = 50


@pytest.fixture
def cluster(dsn, home):
    """Two replicas that drain quickly."""
    made = Cluster(dsn, home, env={"ADO_DRAIN_SECONDS": "2"})
    try:
        yield made.add_replicas(2)
    finally:
        made.close()


def sockets(cluster, index):
    """Return how many WebSockets a replica has."""
    request = urllib.request.Request(
        f"{cluster.urls[index]}/metrics", headers={"authorization": f"Bearer {cluster.token}"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return float(re.search(r'ado_connections{transport="websocket"} (\S+)', answer.read().decode())[1])


def restart(cluster, index, how):
    cluster.replicas[index].send_signal(how)
    cluster.replicas[index].wait(60)
    cluster.replicas[index] = cluster.start("api", "--port", cluster.urls[index].rpartition(":")[2])
    until(lambda: Cluster._ready(cluster.urls[index]), "the new replica to be ready")


def restart_both(cluster, go):
    """Restart the replica that has the clients, then, once they have moved, the one that took them over."""
    until(lambda: sockets(cluster, 0) >= CLIENTS, "the clients to watch")
    restart(cluster, 0, signal.SIGTERM)
    until(lambda: sockets(cluster, 1) >= CLIENTS, "the clients to have moved")
    restart(cluster, 1, signal.SIGKILL)
    until(lambda: sockets(cluster, 0) >= CLIENTS, "the clients to have moved back")
    go.touch()


async def test_fifty_clients_survive_rolling_restarts_and_get_each_event_once(cluster, home):
    go = home / "go"
    cluster.add_worker("w1")
    script = f"i=1; until [ -e {go} ]; do echo line $i; i=$((i + 1)); sleep 0.05; done"
    made = await asyncio.to_thread(
        cluster.ado, "run", "--remote", "--detach", "--agent", "shell", "-o", "name", script, check=0
    )
    task = made.stdout.decode().strip()
    watching = [asyncio.create_task(read_through(cluster.urls, cluster.token, task)) for _ in range(CLIENTS)]
    try:
        await asyncio.to_thread(restart_both, cluster, go)
        async with asyncio.timeout(60):
            logs = await asyncio.gather(*watching)
    finally:
        for reading in watching:
            reading.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
    last = cluster.sql("select last_seq from ado.task_logs")[0][0]
    assert [[event["seq"] for event in log] for log in logs] == [list(range(1, last + 1))] * CLIENTS
    assert all(log[-1]["type"] == "succeeded" for log in logs)
