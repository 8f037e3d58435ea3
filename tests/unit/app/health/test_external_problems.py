"""What is reported of spawners that stopped and of locks, and how often it is read."""

import asyncio
import logging
from datetime import UTC, datetime

import pytest

from app.health import external_problems
from app.health.external_problems import ExternalProblems, ExternalProblemWatch
from db.errors import DatabaseUnavailable
from db.health import BlockerRow


def blocker(pid, blocked=1):
    now = datetime.now(UTC)
    return BlockerRow(pid, "somebody", "psql", "idle in transaction", now, blocked, now)


@pytest.fixture
def database(monkeypatch):
    """What the database answers, by part, and how often it was asked."""
    answers = {"blockers": [], "silent_spawners": [], "reads": 0}

    def answer(part):
        async def read(_db):
            answers["reads"] += 1
            if isinstance(answers[part], Exception):
                raise answers[part]
            if answers[part] == "locked":
                await asyncio.sleep(60)
            return answers[part]

        return read

    for part in ("blockers", "silent_spawners"):
        monkeypatch.setattr(external_problems.health, part, answer(part))
    return answers


@pytest.mark.parametrize(
    ("found", "warnings"),
    [
        (ExternalProblems(), {}),
        (ExternalProblems([], []), {}),
        (ExternalProblems(["spawner-a", "spawner-b"], []), {"spawner": "2 stopped sending heartbeats"}),
        (ExternalProblems([], [blocker(7, 3)]), {"locks": "1 session holds up 3 others"}),
        (ExternalProblems([], [blocker(7, 3), blocker(8, 2)]), {"locks": "2 sessions hold up 5 others"}),
    ],
)
def test_a_warning_counts_and_names_no_session_or_spawner(found, warnings):
    assert found.warnings() == warnings


async def test_troubles_are_read_at_most_every_five_seconds(database, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(external_problems.time, "monotonic", lambda: now[0])
    watch = ExternalProblemWatch()
    await asyncio.gather(watch.report(None), watch.report(None))
    now[0] += 4.9
    await watch.report(None)
    assert database["reads"] == 2  # one statement for each part
    now[0] += 0.2
    await watch.report(None)
    assert database["reads"] == 4


async def test_a_part_that_cannot_be_read_does_not_hide_the_other(database, monkeypatch):
    monkeypatch.setattr(external_problems, "_READ_SECONDS", 0.01)
    database["blockers"] = [blocker(7)]
    database["silent_spawners"] = "locked"
    assert await ExternalProblemWatch().report(None) == ExternalProblems(None, database["blockers"])
    database["silent_spawners"] = ["spawner-a"]
    database["blockers"] = DatabaseUnavailable("away")
    assert await ExternalProblemWatch().report(None) == ExternalProblems(["spawner-a"], None)


async def test_a_trouble_is_logged_once_while_it_lasts(database, monkeypatch, caplog):
    monkeypatch.setattr(external_problems, "_REUSE_SECONDS", -1)
    watch = ExternalProblemWatch()
    with caplog.at_level(logging.WARNING, "ado.api"):
        database["silent_spawners"], database["blockers"] = ["spawner-a"], [blocker(7)]
        await watch.report(None)
        await watch.report(None)
        assert len(caplog.records) == 2
        database["silent_spawners"] = ["spawner-a", "spawner-b"]
        await watch.report(None)
        assert [record.spawner for record in caplog.records[2:]] == ["spawner-b"]
