"""Migrations: numbered files, forward only, each applied once under an advisory lock.

Authority is the table ``ado.migrations``: number, name and checksum of what was applied. Somebody else having
migrated meanwhile is success; a file that reads differently from what was applied is an error, because then nobody
knows what the database is.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import psycopg

from db.connect import connected
from db.errors import MigrationFailed, SchemaMismatch

_NAME = re.compile(r"^(\d{4})_([a-z0-9_]+)\.sql$")
_LOCK = 0x61646F  # "ado": one number for all databases of a server is fine, the lock is per database

_BOOTSTRAP = """
create schema if not exists ado;
create table if not exists ado.migrations (
    number     integer primary key,
    name       text not null,
    checksum   text not null,
    applied_at timestamptz not null default now()
);
comment on schema ado is 'Tasks, their jobs and logs, workers and tokens of ado. Operators read the views.';
comment on table ado.migrations is 'Which migrations were applied.';
comment on column ado.migrations.number is 'Number in the file name.';
comment on column ado.migrations.name is 'Name in the file name.';
comment on column ado.migrations.checksum is 'SHA-256 of the file as it was applied.';
comment on column ado.migrations.applied_at is 'When.';
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of ``sql/migrations``."""

    number: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """Digest of the text, kept to notice a file that was edited after it was applied."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def migrations() -> list[Migration]:
    """Read the migrations in order; the numbers must be consecutive from 1."""
    listing = sorted(files("sql").joinpath("migrations").iterdir(), key=lambda item: item.name)
    found = [
        Migration(int(match[1]), match[2], file.read_text("utf-8"))
        for file in listing
        if (match := _NAME.match(file.name))
    ]
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise MigrationFailed("the migration files are not numbered 1, 2, 3 …", "reinstall ado")
    return found


def known() -> int:
    """Return the number of the newest migration of this release."""
    return len(migrations())


def migrate(dsn: str) -> list[int]:
    """Bring the database to this release's schema and return the numbers that were applied.

    Raises MigrationFailed, SchemaMismatch (the database is newer) or DatabaseUnavailable.
    """
    with connected(dsn, autocommit=True, prepare_threshold=None) as connection:
        connection.execute("select pg_advisory_lock(%s)", [_LOCK])
        connection.execute("set client_min_messages = warning")
        connection.execute(_BOOTSTRAP)
        return _apply_missing(connection)


def _apply_missing(connection: psycopg.Connection[Any]) -> list[int]:
    applied = dict(connection.execute("select number, checksum from ado.migrations").fetchall())
    files_ = migrations()
    if applied and max(applied) > len(files_):
        raise SchemaMismatch(max(applied), len(files_))
    done = []
    for migration in files_:
        if migration.number in applied:
            if applied[migration.number] != migration.checksum:
                raise MigrationFailed(
                    f"migration {migration.number} ({migration.name}) is not the one that was applied",
                    "install the release that the database was migrated with, or a newer one",
                )
            continue
        try:
            _apply(connection, migration)
        except psycopg.Error as error:
            raise MigrationFailed(
                f"migration {migration.number} ({migration.name}) failed: {error}",
                "nothing of it was kept; it can be run again when the cause is gone",
            ) from error
        done.append(migration.number)
    return done


def _apply(connection: psycopg.Connection[Any], migration: Migration) -> None:
    with connection.transaction():
        connection.execute(migration.text.encode())
        connection.execute(
            "insert into ado.migrations (number, name, checksum) values (%s, %s, %s)",
            [migration.number, migration.name, migration.checksum],
        )


def version(dsn: str) -> int:
    """Return the database's migration number; 0 for one that never was migrated."""
    with connected(dsn, autocommit=True) as connection:
        if connection.execute("select to_regclass('ado.migrations')").fetchone() == (None,):
            return 0
        row = connection.execute("select coalesce(max(number), 0) from ado.migrations").fetchone()
        return int(row[0]) if row else 0


def check(dsn: str) -> None:
    """Raise SchemaMismatch unless the database is at exactly this release's schema."""
    found = version(dsn)
    if found != known():
        raise SchemaMismatch(found, known())
