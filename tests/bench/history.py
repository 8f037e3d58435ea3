"""A database with a history: ended tasks with logs, a queue, and what else years leave behind.

The tasks are written at the baseline, before the later migrations, so that these run on as many rows as an upgrade
meets. Everything is made by Postgres itself.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import psycopg

from db.migrate import migrate, migrations

_SQL = Path(__file__).parent
_PATIENT = """
do $$ begin
    execute format('alter database %I set idle_in_transaction_session_timeout = 0', current_database());
end $$
"""


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is of what grows."""

    ended: int
    queued: int
    demands: int
    labels: int


def fill(dsn: str, size: Size) -> dict[str, float]:
    """Fill an empty database; return the seconds that each later migration took, by its name."""
    marks: list[float] = []

    def at_migration(place: int, _: int) -> None:
        if place == 2:  # the baseline is there
            _run(dsn, "history.sql", size)
        marks.append(time.perf_counter())

    with psycopg.connect(dsn) as connection:
        connection.execute(_PATIENT)  # the migrations wait in a transaction while the baseline is filled
    migrate(dsn, at_migration)
    marks.append(time.perf_counter())
    _run(dsn, "history_around.sql", size)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("vacuum (freeze, analyze)")
    names = [f"{migration.number:04}_{migration.name}" for migration in migrations()]
    return {name: after - before for name, before, after in zip(names[1:], marks[1:], marks[2:], strict=False)}


def _run(dsn: str, name: str, size: Size) -> None:
    with psycopg.connect(dsn) as connection:
        for setting in ("ended", "queued", "demands", "labels"):
            connection.execute("select set_config(%s, %s, true)", [f"bench.{setting}", str(getattr(size, setting))])
        connection.execute((_SQL / name).read_bytes())
