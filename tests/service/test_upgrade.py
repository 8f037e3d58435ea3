"""Replicas while the schema moves on under them, and on a database of the first release.

What an upgrade without downtime and a roll-back rest on.
"""

import json
import signal
import subprocess
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from support.program import Cluster, until, write_token

from db.migrate import _BOOTSTRAP, known, migrate, migrations


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
        with urllib.request.urlopen(f"{url}/readyz", timeout=60) as answer:
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
    """Start a task that writes until it is stopped; return the command that watches it."""
    script = f"echo begin; until [ -e {home}/go ]; do sleep 0.05; done; echo end"
    watching = cluster.open("run", "--remote", "--agent", "shell", script)
    assert watching.stdout.readline() == b"begin\n"
    return watching


def test_an_old_replica_runs_and_restarts_on_a_compatible_newer_schema(cluster, home):
    cluster.add_worker("w1")
    watching = streaming(cluster, home)
    move_on(cluster.dsn, oldest=known())
    assert [looked_again(url)[0] for url in cluster.urls] == [200, 200]
    (home / "go").touch()
    out, err = watching.communicate(timeout=60)
    assert (watching.returncode, out) == (0, b"end\n"), err
    cluster.ado("run", "--remote", "--agent", "shell", "exit 7", check=7)
    cluster.replicas[0].send_signal(signal.SIGTERM)
    assert cluster.replicas[0].wait(60) == 0
    cluster.start("api", "--port", cluster.urls[0].rpartition(":")[2])
    until(lambda: cluster._ready(cluster.urls[0]), "the old release to start again")
    cluster.ado("run", "--remote", "--agent", "shell", "exit 7", check=7, url=cluster.urls[0])


def test_an_old_replica_is_unready_on_an_incompatible_schema_and_finishes_its_work(cluster, home):
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
    assert refused.wait(60) == 125
    done = subprocess.run([*refused.args[:4], "db", "check"], env=cluster.env, capture_output=True, check=False)
    assert done.returncode == 125
    assert f"is at migration {known() + 1}".encode() in done.stderr
    assert b"deploy a newer release" in done.stderr


RELEASE = Path(__file__).with_name("release_0_1_0.sql")
BUILD_1 = "ado_4TMcYPV5uMowD5GvovqoASmmHyRWmmKoJXcV9Z_-4Sg"
ANNA = "ado_CSraTT56PmUpjfgCphnCpLlTtu2JOx9ROsslq6YwKGI"


@pytest.fixture
def upgraded(empty_dsn, home):
    """Replicas of today on the database of release 0.1.0, upgraded a minute after its processes had stopped."""
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute(_BOOTSTRAP)
        for migration in migrations():
            if migration.number <= 27:
                connection.execute(migration.text)
        connection.execute("delete from ado.control; delete from ado.user_turns")
        connection.execute(RELEASE.read_text())
        connection.execute(
            "update ado.control set last_tick_at = now() - interval '1 min';"
            "update ado.jobs set started_at = now() - interval '2 min', lease_expires_at = now()"
            " where status = 'running'"
        )
    assert migrate(empty_dsn) == list(range(28, known() + 1))
    made = Cluster(empty_dsn, home)
    try:
        yield made.add_replicas(1)
    finally:
        made.close()


def test_an_upgrade_from_release_0_1_0_keeps_the_data(upgraded):
    listed = json.loads(upgraded.ado("tasks", "list", "-o", "json", token=ANNA, check=0).stdout)["items"]
    assert [(task["taskId"], task["status"]) for task in listed] == [
        ("task-6", "running"),
        ("task-5", "succeeded"),
        ("task-4", "queued"),
        ("task-3", "succeeded"),
        ("task-2", "failed"),
        ("task-1", "succeeded"),
    ]
    for job in ("0", "1"):
        out = upgraded.ado("logs", "task-1", "--job", job, "--raw", check=0).stdout.decode()
        assert out == f"line 1 of {job}\nline 2 of {job}\nline 3 of {job}\n"
    (oops,) = [event for event in upgraded.events("task-2") if event["type"] == "output"]
    assert (oops["stream"], oops["data"]) == ("stderr", "oops\n")
    assert upgraded.task("task-2")["jobs"][0]["exitCode"] == 3
    assert upgraded.ado("kv", "get", "note", "--task", "task-3", check=0).stdout == b"from the old release\n"
    assert b"anna" in upgraded.ado("whoami", token=ANNA, check=0).stdout
    users = json.loads(upgraded.ado("users", "list", "-o", "json", check=0).stdout)["items"]
    assert [(user["name"], user["running"]) for user in users] == [("anna", 3)]
    assert upgraded.sql("select procedure from ado.audit where target = 'user-1' order by audit_id") == [
        ("users.add",),
        ("users.set",),
    ]
    with psycopg.connect(upgraded.dsn) as connection:
        views = connection.execute("select viewname from pg_views where schemaname = 'ado'").fetchall()
        for (view,) in views:
            connection.execute(sql.SQL("select * from ado.{}").format(sql.Identifier(view)))


def test_jobs_of_release_0_1_0_continue_after_the_upgrade(upgraded, home):
    write_token(home / "build-1", BUILD_1)
    upgraded.start(
        "worker", "--id", "build-1", "--url", upgraded.urls[0], "--token-file", str(home / "build-1"),
        "--work-dir", str(home / "work"), "--capability", "shell", "--capability", "big",
    )  # fmt: skip
    done = upgraded.ado("wait", "task-6", check=0)
    assert b"task-6 succeeded" in done.stdout + done.stderr
    out = [event["data"] for event in upgraded.events("task-6") if event["type"] == "output"]
    assert out == ["attempt 1 of anna\n", "attempt 2 of anna\n"]
    assert upgraded.sql("select attempt, losses from ado.jobs where task_id = 6") == [(2, 1)]
    upgraded.ado("retry", "task-2", check=0)
    upgraded.ado("wait", "task-2", check=3)
    assert upgraded.task("task-2")["jobs"][0]["attempt"] == 2
    assert upgraded.ado("run", "--remote", "--agent", "shell", "echo new", check=0).stdout == b"new\n"
    assert upgraded.task("task-7")["status"] == "succeeded"
    seqs = upgraded.sql("select task_id, array_agg(seq order by seq) from ado.events group by task_id")
    assert all(found == list(range(1, len(found) + 1)) for _, found in seqs)
