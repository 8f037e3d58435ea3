"""A session that blocks the queue is named by doctor, metrics and readiness, with the statement that ends it."""

import json
import re
import urllib.error
import urllib.request

import psycopg
import pytest
from psycopg import conninfo
from support.program import until

MINE = "a person's psql"


@pytest.fixture
def holding(cluster):
    """A session that locks the table of jobs, as a forgotten commit does."""
    connection = psycopg.connect(cluster.dsn, application_name=MINE)

    def hold(mode):
        connection.execute(f"lock table ado.jobs in {mode} mode")
        return connection.info.backend_pid

    yield hold
    connection.close()


def warned(cluster):
    return until(lambda: json.loads(fetched(f"{cluster.urls[0]}/readyz"))["warnings"].get("locks"), "a warning", 60)


def found_by_doctor(cluster):
    done = cluster.ado("doctor", "-o", "json", check=1)
    return [one for one in json.loads(done.stdout)["items"] if one["name"] == "locks"]


def fetched(url, token=None):
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {token}"} if token else {})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read().decode()


def test_a_lock_on_the_queue_is_named_and_ended_by_the_advice_of_doctor(cluster, home, holding):
    pid = holding("share row exclusive")
    assert str(pid) not in warned(cluster)
    assert json.loads(fetched(f"{cluster.urls[0]}/readyz"))["status"] == "ready"
    (check,) = found_by_doctor(cluster)
    assert MINE in check["message"]
    assert f"pid {pid} " in check["message"]
    scraped = fetched(f"{cluster.urls[0]}/metrics", cluster.token)
    assert "\nado_lock_blockers 1.0\n" in scraped
    until(lambda: "a session holds a lock that others wait for" in (home / "api-0.log").read_text(), "a line", 60)
    assert f'"pid":{pid},' in (home / "api-0.log").read_text()
    statement = re.search(r"select .*;", check["fix"])[0]
    assert cluster.sql(statement) == [(True,)]
    until(lambda: json.loads(fetched(f"{cluster.urls[0]}/readyz"))["warnings"] == {}, "the end of the warning", 60)


def test_a_lock_against_reading_jobs_is_named(cluster, holding):
    pid = holding("access exclusive")
    assert warned(cluster).startswith("1 session holds up ")
    found = found_by_doctor(cluster)
    assert len(found) == 1
    assert f"pid {pid} " in found[0]["message"]


def unread(text):
    return set(re.findall(r'\nado_metrics_unread\{part="(\w+)"\} 1\.0', text))


def test_metrics_report_what_can_be_read_under_a_lock(cluster, holding):
    assert unread(fetched(f"{cluster.urls[0]}/metrics", cluster.token)) == set()
    holding("access exclusive")
    warned(cluster)
    text = until(
        lambda: found if unread(found := fetched(f"{cluster.urls[0]}/metrics", cluster.token)) else None, "a lock"
    )
    assert unread(text) == {"agents", "autoscale", "jobs", "workers"}
    assert "\nado_database_up 1.0\n" in text
    assert "\nado_lock_blockers 1.0\n" in text
    assert "\nado_oldest_queued_seconds NaN\n" in text
    assert "\nado_jobs{" not in text
    assert "\n# TYPE ado_tasks_finished_total" in text


def test_metrics_accept_a_cached_token_under_a_lock(cluster):
    url = f"{cluster.urls[0]}/metrics"
    fetched(url, cluster.token)
    with psycopg.connect(cluster.dsn) as connection:
        connection.execute("lock table ado.tokens in access exclusive mode")
        assert "\nado_database_up 1.0\n" in fetched(url, cluster.token)
        with pytest.raises(urllib.error.HTTPError) as refused:
            fetched(url, "ado_another")
        with refused.value as answer:
            assert (answer.code, json.load(answer)["error"]["data"]["reason"]) == (503, "database_unavailable")


def test_metrics_report_an_outage_to_a_cached_token(cluster):
    url = f"{cluster.urls[0]}/metrics"
    assert "\nado_database_up 1.0\n" in fetched(url, cluster.token)
    name = conninfo.conninfo_to_dict(cluster.dsn)["dbname"]
    with psycopg.connect(conninfo.make_conninfo(cluster.dsn, dbname="template1"), autocommit=True) as connection:
        connection.execute(f'alter database "{name}" allow_connections false')
        connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name])
        text = until(
            lambda: found if "\nado_database_up 0.0\n" in (found := fetched(url, cluster.token)) else None, "the outage"
        )
    assert unread(text) >= {"writes", "jobs", "workers", "spawners", "transactions", "monitor", "counters"}
    assert "\nado_database_writable NaN\n" in text


def test_metrics_and_readiness_count_a_stopped_spawner(cluster):
    cluster.sql(
        "insert into ado.spawners values ('s1', 'local', 'h', '{shell}', 1, now(), now() - interval '1 h') returning 1"
    )
    wanted = {"spawner": "1 stopped sending heartbeats"}
    until(lambda: json.loads(fetched(f"{cluster.urls[0]}/readyz"))["warnings"] == wanted, "the warning")
    assert json.loads(fetched(f"{cluster.urls[0]}/readyz"))["status"] == "ready"
    assert 'ado_spawners{state="silent"} 1.0' in fetched(f"{cluster.urls[1]}/metrics", cluster.token)
