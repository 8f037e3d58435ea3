"""A session that blocks the queue is named by doctor, metrics and readiness, with the statement that ends it."""

import json
import re
import urllib.request

import psycopg
import pytest
from support.program import until

MINE = "a person's psql"


@pytest.fixture
def holding(cluster):
    """A session that locks the table of jobs, as somebody who forgot to commit does."""
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


def test_a_lock_that_blocks_the_queue_is_named_and_ended_by_what_doctor_says(cluster, holding):
    pid = holding("share row exclusive")
    assert str(pid) not in warned(cluster)
    assert json.loads(fetched(f"{cluster.urls[0]}/readyz"))["status"] == "ready"
    (check,) = found_by_doctor(cluster)
    assert MINE in check["message"]
    assert f"pid {pid} " in check["message"]
    scraped = fetched(f"{cluster.urls[0]}/metrics", cluster.token)
    assert "\nado_lock_blockers 1.0\n" in scraped
    statement = re.search(r"select .*;", check["fix"])[0]
    assert cluster.sql(statement) == [(True,)]
    until(lambda: json.loads(fetched(f"{cluster.urls[0]}/readyz"))["warnings"] == {}, "the end of the warning", 60)


def test_a_lock_that_lets_nobody_read_is_told_although_no_token_can_be_looked_up(cluster, holding):
    holding("access exclusive")
    warned(cluster)
    assert all("ado.lock_blockers" in check["fix"] for check in found_by_doctor(cluster))


def test_metrics_and_readiness_count_a_stopped_spawner(cluster):
    cluster.sql(
        "insert into ado.spawners values ('s1', 'local', 'h', '{shell}', 1, now(), now() - interval '1 h') returning 1"
    )
    shown = until(lambda: json.loads(fetched(f"{cluster.urls[0]}/readyz"))["warnings"], "a warning", 60)
    assert shown == {"spawner": "1 stopped without a word"}
    assert json.loads(fetched(f"{cluster.urls[0]}/readyz"))["status"] == "ready"
    assert 'ado_spawners{state="silent"} 1.0' in fetched(f"{cluster.urls[1]}/metrics", cluster.token)
