"""``ado doctor --latency`` measures the user's own server, and says what to do when it cannot."""

import json

import psycopg
import pytest
from support.program import until


def measure(cluster, *arguments, **options):
    return cluster.ado("doctor", "--latency", "-o", "json", *arguments, **options)


@pytest.mark.parametrize("capability", ["shell", "scripted"])
def test_latency_is_measured_from_the_write_to_this_machine(cluster, capability):
    cluster.add_worker("w1", "--capability", capability)
    until(lambda: cluster.sql("select from ado.workers where started_at is not null"), "the worker")
    found = json.loads(measure(cluster, check=0).stdout)
    stream = found["latency"]
    assert 0 < stream["p50Ms"] <= stream["p99Ms"] < 60_000
    assert 1 < stream["count"] <= 100
    assert found["database"].keys() == {"notifyMs", "commitMs", "flushMs"}
    assert 0 <= found["database"]["flushMs"] <= found["database"]["commitMs"]
    assert (found["workerId"], found["clocks"]["correctedMs"]) == ("w1", 0)
    assert cluster.task(found["taskId"])["status"] == "succeeded"


def test_the_clock_of_another_machine_is_corrected(cluster):
    """The worker of another host says that it is an hour ahead; its clock is what the correction is made from."""
    cluster.add_worker("w1")
    until(lambda: cluster.sql("select from ado.workers where started_at is not null"), "the worker")
    with psycopg.connect(cluster.dsn, autocommit=True) as connection:
        connection.execute(
            "create function ado.elsewhere() returns trigger language plpgsql as $$ begin "
            "new.host := 'elsewhere'; new.clock_skew_seconds := -3600; return new; end $$"
        )
        connection.execute(
            "create trigger elsewhere before update on ado.workers for each row execute function ado.elsewhere()"
        )
    found = json.loads(measure(cluster, check=0).stdout)
    assert 3_590_000 < found["clocks"]["correctedMs"] < 3_610_000
    assert found["latency"]["p50Ms"] > 3_590_000  # because in truth its clock is right


def test_without_a_worker_the_next_step_is_named_and_no_task_remains(cluster):
    done = measure(cluster, "--within", "1s", check=125)
    error = json.loads(done.stdout or done.stderr)["error"]
    assert error["reason"] == "no_worker"
    assert "ado worker" in error["hint"]
    assert cluster.sql("select status from ado.tasks") == [("cancelled",)]


def test_the_replicas_role_may_measure(dsn):
    with psycopg.connect(dsn) as connection:
        connection.execute("set role ado_api")
        assert connection.execute("select pg_logical_emit_message(true, 'ado', 'x') is not null").fetchone() == (True,)
