"""A job that means harm: what it can make the server store."""

import pytest
from support.program import Cluster

WRITES = """python3 - <<'P'
import json, os
fd = int(os.environ["ADO_EVENTS_FD"])
for n in range(COUNT):
    data = json.dumps({"type": KIND, "message": "x" * SIZE}).encode() + b"\\n"
    while data: data = data[os.write(fd, data):]
P
"""
LIMIT = 200_000


@pytest.mark.parametrize(
    ("kind", "count", "size"), [("progress", 12, 900_000), ("agent", 12, 900_000), ("progress", 30_000, 0)]
)
def test_a_job_cannot_fill_the_database_with_events(dsn, home, kind, count, size):
    cluster = Cluster(dsn, home, env={"ADO_OUTPUT_BYTES": str(LIMIT)})
    try:
        cluster.add_replicas(2)
        cluster.add_worker("w1")
        script = WRITES.replace("COUNT", str(count)).replace("KIND", repr(kind)).replace("SIZE", str(size))
        cluster.ado("run", "--remote", "--agent", "shell", script, check=0)
        stored = [event for event in cluster.events("task-1") if event["type"] == kind]
        assert sum(max(len(str(event)), 100) for event in stored) < 5_000_000
        assert len(stored) < count
        assert cluster.task("task-1")["jobs"][0]["droppedBytes"] > 0
    finally:
        cluster.close()
