"""Behind a PgBouncer in transaction mode, and without any notification: everything works, a poll interval later."""

import http.client
import json

import pytest
from support.pgbouncer import pgbouncer
from support.program import Cluster, processes_with, until

from db.migrate import migrate

SCRIPT = 'for i in 1 2 3; do echo "worker $ADO_JOB_INDEX step $i"; done'
LINES = sorted(f"[{job}] worker {job} step {step}" for job in range(3) for step in (1, 2, 3))


@pytest.fixture
def bouncer(empty_dsn):
    with pgbouncer(empty_dsn) as through:
        yield through


def readiness(url):
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    try:
        connection.request("GET", "/readyz")
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def started(dsn, home, env):
    cluster = Cluster(dsn, home, env=env)
    return cluster.add_replicas(2)


def test_everything_works_behind_a_transaction_pooler_with_a_listen_dsn(empty_dsn, bouncer, home):
    assert migrate(bouncer)
    assert migrate(bouncer) == migrate(empty_dsn) == []  # no lock was left with a connection of the pooler
    cluster = started(bouncer, home, {"ADO_LISTEN_DSN": empty_dsn})
    try:
        cluster.start("spawner", "--max", "3", "--url", ",".join(cluster.urls), "--work-dir", str(home / "work"))
        until(lambda: all(readiness(url)["hearsNotifications"] for url in cluster.urls), "notifications to be heard")
        run = ["run", "--remote", "--agent", "shell"]
        done = cluster.ado(*run, "--workers", "3", SCRIPT, check=0)
        assert sorted(done.stdout.decode().splitlines()) == LINES
        assert cluster.ado(*run, "exit 7").returncode == 7
        assert cluster.ado("attach", "task-1", url=cluster.urls[1], check=0).stdout == done.stdout
        cluster.ado("cancel", cluster.ado(*run, "--detach", "-o", "name", "sleep 300").stdout.decode().strip(), check=0)
        cluster.ado("wait", "task-3", check=1)
        cluster.ado("token", "create", "--role", "viewer", check=0)
    finally:
        cluster.close()


def test_everything_works_without_notifications(empty_dsn, bouncer, home):
    """The one connection that listens leads through the pooler, which delivers nothing."""
    migrate(empty_dsn)
    settings = {"ADO_LISTEN_DSN": bouncer, "ADO_HEARTBEAT_SECONDS": "60", "ADO_SUSPECT_SECONDS": "135"}
    cluster = started(empty_dsn, home, {**settings, "ADO_LEASE_SECONDS": "270"})
    try:
        for name in ("w0", "w1", "w2"):
            cluster.add_worker(name)
        assert [readiness(url)["hearsNotifications"] for url in cluster.urls] == [False, False]
        run = ["run", "--remote", "--agent", "shell"]
        done = cluster.ado(*run, "--workers", "3", SCRIPT, check=0)
        assert sorted(done.stdout.decode().splitlines()) == LINES
        marker = f"{home}/marker"
        cluster.ado(*run, "--detach", f": {marker}; sleep 300", check=0)
        until(lambda: processes_with(marker), "the job to run")
        cluster.ado("cancel", "task-2", check=0)
        until(lambda: not processes_with(marker), "the cancel to arrive before any heartbeat", 50)
        cluster.ado("wait", "task-2", check=1)
    finally:
        cluster.close()


def test_an_undeclared_pooler_is_recognised(empty_dsn, bouncer, home):
    """Only hints are missing then, so everything works a poll interval later; no statement fails."""
    migrate(empty_dsn)
    cluster = started(bouncer, home, {})
    try:
        cluster.add_worker("w0")
        assert [readiness(url)["hearsNotifications"] for url in cluster.urls] == [False, False]
        done = cluster.ado("run", "--remote", "--agent", "shell", "echo hello", check=0)
        assert done.stdout == b"hello\n"
        logs = [path.read_text() for path in home.glob("api-*.log")]
        assert not [line for log in logs for line in log.splitlines() if json.loads(line)["level"] == "error"]
    finally:
        cluster.close()


@pytest.fixture(autouse=True)
def _nothing_is_left(home):
    yield
    until(lambda: not processes_with(str(home)), "every process of the test to be gone")
