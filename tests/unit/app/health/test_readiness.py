"""When a replica is ready, and what it reports otherwise."""

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from app.health import readiness
from app.health.external_problems import ExternalProblems
from app.health.readiness import Readiness
from app.log.hub import Hub
from db.errors import DatabaseFull, DatabaseReadOnly, DatabaseUnavailable
from db.health import Schema
from db.migrate import known


@dataclass
class Listening:
    connected: bool = True


class Watch:
    async def report(self, _db):
        return ExternalProblems(["spawner-a"], [])


@pytest.fixture
def database(monkeypatch):
    """What the database answers; without ``notifies`` no hint comes back."""
    answers = {"writes": None, "schema": Schema(known(), 1), "notifies": True, "checks": 0, "hub": Hub()}

    async def check_writes(_db):
        answers["checks"] += 1
        if answers["writes"]:
            raise answers["writes"]

    async def schema(_db):
        return answers["schema"]

    async def probe(_db, hint):
        if answers["notifies"]:
            answers["hub"].receive([hint])
        return datetime.now(UTC)

    for answer in (check_writes, schema, probe):
        monkeypatch.setattr(readiness.health, answer.__name__, answer)
    monkeypatch.setattr(readiness, "_NOTIFY_SECONDS", 0.01)
    return answers


@pytest.fixture
def replica(database):
    return Readiness(object(), Listening(), database["hub"], external_problems=Watch())


async def test_a_replica_with_all_parts_is_ready_and_warns_of_troubles(replica):
    report = await replica.report()
    assert (report.problems, report.hears) == ({}, True)
    assert report.warnings == {"spawner": "1 stopped sending heartbeats"}


async def test_a_replica_without_notifications_is_ready(replica, database):
    database["notifies"] = False
    report = await replica.report()
    assert (report.problems, report.hears) == ({}, False)


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (DatabaseReadOnly(), "refuses writes: it is read-only"),
        (DatabaseFull(), "refuses writes: its disk is full"),
        (DatabaseUnavailable("127.0.0.1:5432 refused the connection"), "does not answer"),
    ],
)
async def test_a_database_problem_is_named_without_an_address(replica, database, error, problem):
    database["writes"] = error
    assert (await replica.report()).problems == {"database": problem}


async def test_a_schema_that_does_not_serve_this_release_is_a_problem(replica, database):
    database["schema"] = Schema(known() - 1, 1)
    assert (await replica.report()).problems == {"schema": f"is at {known() - 1}, not {known()}"}


async def test_a_replica_is_not_ready_while_it_starts_and_without_its_listener(replica):
    assert (await Readiness().report()).problems.keys() == {"listener", "process"}
    replica.listener.connected = False
    assert (await replica.report()).problems == {"listener": "is not connected; readers poll"}


async def test_a_report_is_reused_until_the_replica_drains(replica, database):
    await replica.report()
    await replica.report()
    assert database["checks"] == 1
    replica.draining = True
    assert (await replica.report()).problems == {"process": "is draining"}


async def test_a_report_without_the_listener_is_reused_until_it_has_connected(replica, database):
    replica.listener.connected = False
    assert await replica.report() is await replica.report()
    replica.listener.connected = True
    assert (await replica.report()).problems == {}
    assert database["checks"] == 2
