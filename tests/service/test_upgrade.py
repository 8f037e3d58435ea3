"""Replicas while the schema moves on under them: what an upgrade without downtime and a roll-back rest on."""

import json
import signal
import subprocess
import urllib.error
import urllib.request
from datetime import UTC, datetime

import psycopg
from support.program import until

from db.migrate import known


def move_on(dsn, oldest):
    """Do what the next release's migration would: add columns, and say which releases still run."""
    # each by itself: a transaction that locks several tables in this order deadlocks with a heartbeat now and then
    with psycopg.connect(dsn, autocommit=True) as connection:
        for table in ("tasks", "jobs", "events", "workers", "task_logs", "tokens"):
            connection.execute(f"alter table ado.{table} add column of_the_future text default 'x'")
        connection.execute(
            "insert into ado.migrations (number, name, checksum, oldest) values (%s, 'future', 'x', %s)",
            [known() + 1, oldest],
        )


def readiness(url):
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def looked_again(url):
    """Return the first readiness that was found after now."""
    now = datetime.now(UTC)

    def newer():
        found = readiness(url)
        return found if datetime.fromisoformat(found[1]["time"]) > now else None

    return until(newer, "another look")


def streaming(cluster, home):
    """Start a task that writes until told to stop; return the command that watches it."""
    script = f"echo begin; until [ -e {home}/go ]; do sleep 0.05; done; echo end"
    watching = cluster.open("run", "--remote", "--agent", "shell", script)
    assert watching.stdout.readline() == b"begin\n"
    return watching


def test_an_old_replica_goes_on_and_starts_again_on_a_newer_schema_that_still_serves_it(cluster, home):
    cluster.add_worker("w1")
    watching = streaming(cluster, home)
    move_on(cluster.dsn, oldest=known())
    assert [looked_again(url)[0] for url in cluster.urls] == [200, 200]
    (home / "go").touch()
    out, err = watching.communicate(timeout=60)
    assert (watching.returncode, out) == (0, b"end\n"), err
    cluster.ado("run", "--remote", "--agent", "shell", "exit 7", check=7)
    cluster.replicas[0].send_signal(signal.SIGTERM)
    assert cluster.replicas[0].wait(30) == 0
    cluster.start("api", "--port", cluster.urls[0].rpartition(":")[2])
    until(lambda: cluster._ready(cluster.urls[0]), "the old release to start again")
    cluster.ado("run", "--remote", "--agent", "shell", "exit 7", check=7, url=cluster.urls[0])


def test_an_old_replica_is_unready_on_a_schema_that_refuses_it_but_finishes_what_it_has(cluster, home):
    cluster.add_worker("w1")
    watching = streaming(cluster, home)
    move_on(cluster.dsn, oldest=known() + 1)
    for url in cluster.urls:
        status, shape = looked_again(url)
        assert (status, shape["problems"]) == (503, {"schema": f"is at {known() + 1}, not {known()}"})
    (home / "go").touch()
    out, err = watching.communicate(timeout=60)
    assert (watching.returncode, out) == (0, b"end\n"), err
    refused = cluster.start("api", "--port", "0")
    assert refused.wait(30) == 125
    done = subprocess.run([*refused.args[:4], "db", "check"], env=cluster.env, capture_output=True, check=False)
    assert done.returncode == 125
    assert f"is at migration {known() + 1}".encode() in done.stderr
    assert b"deploy a newer release" in done.stderr
