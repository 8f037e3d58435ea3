"""A database that refuses writes, read-only or full: all callers get the reason, and work continues without loss."""

import contextlib
import json
import urllib.error
import urllib.request

import psycopg
import pytest
from support.program import until

READ_ONLY = "refuses writes: it is read-only"
FULL = "refuses writes: its disk is full"


def readiness(url):
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=60) as answer:
            return answer.status, json.load(answer)["problems"]
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["problems"]


def run(cluster, *statements):
    with psycopg.connect(cluster.dsn, autocommit=True) as connection:
        connection.execute("set default_transaction_read_only = off")
        for statement in statements:
            connection.execute(statement)


@contextlib.contextmanager
def read_only(cluster):
    """New sessions write nothing, and there are no others: as after a failover to a standby."""
    name = psycopg.conninfo.conninfo_to_dict(cluster.dsn)["dbname"]
    cut = f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}' and pid <> pg_backend_pid()"
    run(cluster, f'alter database "{name}" set default_transaction_read_only = on', cut)
    try:
        yield
    finally:
        run(cluster, f'alter database "{name}" reset default_transaction_read_only')


@contextlib.contextmanager
def full(cluster):
    """The log accepts no event and everything else works, as on a disk with little room left."""
    run(
        cluster,
        "create function public.no_room() returns trigger language plpgsql as $$"
        " begin raise disk_full using message = 'could not extend file'; end $$",
        "create trigger no_room before insert on ado.events for each row execute function public.no_room()",
    )
    try:
        yield
    finally:
        run(cluster, "drop function public.no_room cascade")


def told(cluster):
    found = [readiness(url) for url in cluster.urls]
    return [(status, problems.get("database")) for status, problems in found]


@pytest.mark.parametrize(("trouble", "problem"), [(read_only, READ_ONLY), (full, FULL)])
def test_refused_writes_are_reported_and_work_continues_afterwards(cluster, home, trouble, problem):
    cluster.add_worker("w1")
    go = home / "go"
    script = f"echo before; until [ -e {go} ]; do echo during; sleep 0.2; done; echo after"
    watching = cluster.open("run", "--remote", "--agent", "shell", script)
    assert watching.stdout.readline() == b"before\n"
    with trouble(cluster):
        until(lambda: told(cluster) == [(503, problem)] * 2, problem)
        doctor = cluster.ado("doctor", "-o", "json", check=1)
        found = {item["message"]: item for item in json.loads(doctor.stdout)["items"]}
        assert not found[problem]["ok"]
        assert found[problem]["fix"].startswith(("promote it", "free space"))
        refused = cluster.ado("run", "--remote", "--detach", "--agent", "shell", "true")
        assert refused.returncode == 125
        assert f"the database {problem}" in refused.stderr.decode()
        line = b""
        while problem.encode() not in line:
            line = watching.stderr.readline()
            assert line, "the command ended"
    log = [json.loads(line) for line in (home / "api-0.log").read_text().splitlines()]
    assert {"database": problem} in [line["problems"] for line in log if line["event"] == "not ready"]
    waits = [line for line in log if line["event"] == "step waits for the database"]
    assert len({(line["step"], line["detail"]) for line in waits}) == len(waits)
    go.touch()
    out, err = watching.communicate(timeout=60)
    assert watching.returncode == 0, err
    assert out.replace(b"during\n", b"") == b"after\n"
    assert b"during" in out
    assert cluster.sql("select attempt from ado.jobs where task_id = 1") == [(1,)]
    until(lambda: [readiness(url)[0] for url in cluster.urls] == [200, 200], "both replicas to be ready again")
