"""Migrations: numbered files, forward only, each applied once under an advisory lock.

Authority is the table ``ado.migrations``: number, name and checksum of what was applied. Somebody else having
migrated meanwhile is success; a file that reads differently from what was applied is an error, because then nobody
knows what the database is.

A release runs on its own schema, and on a newer one that says so: a migration whose comment has the line
``-- oldest: N`` leaves everything in place that the release with N as its newest migration uses (it adds, and neither
renames, drops nor tightens), so replicas of both work side by side while they are rolled. Without the line, older
releases are refused.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import psycopg

from db import queries
from db.connect import connected
from db.errors import MigrationFailed, SchemaMismatch

_OLDEST = re.compile(r"^-- oldest: (\d+)$", re.MULTILINE)
_LOCK_WAIT = "10s"  # everybody who wants the table waits behind a migration that waits for it
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
alter table ado.migrations add column if not exists oldest integer;
comment on schema ado is 'Tasks, their jobs and logs, workers and tokens of ado. Operators read the views.';
comment on table ado.migrations is 'Which migrations were applied.';
comment on column ado.migrations.number is 'Number in the file name.';
comment on column ado.migrations.name is 'Name in the file name.';
comment on column ado.migrations.checksum is 'SHA-256 of the file as it was applied.';
comment on column ado.migrations.applied_at is 'When.';
comment on column ado.migrations.oldest is 'Newest migration of the oldest release that may run on it; null: its own.';
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

    @property
    def oldest(self) -> int:
        """Newest migration of the oldest release that still runs once this one is applied."""
        match = _OLDEST.search(self.text)
        return int(match[1]) if match else self.number


@dataclass(frozen=True, slots=True)
class Schema:
    """Where a database is."""

    version: int
    """Its newest migration; 0 for one that never was migrated."""
    oldest: int
    """Newest migration of the oldest release that runs on it."""

    def serves(self, release: int) -> bool:
        """Whether the release with this newest migration runs on it."""
        return self.oldest <= release <= self.version


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


def _nobody(_number: int, _last: int) -> None:
    """Tell nobody."""


def migrate(dsn: str, tell: Callable[[int, int], None] = _nobody) -> list[int]:
    """Bring the database to this release's schema and return the numbers that were applied.

    ``tell`` is told the number of each before it is applied, and that of the last one. Raises MigrationFailed,
    SchemaMismatch (the database is newer) or DatabaseUnavailable.
    """
    done: list[int] = []
    last = known()
    with connected(dsn, autocommit=True, prepare_threshold=None) as connection:
        with _locked(connection):
            connection.execute(_BOOTSTRAP)
        while (number := _apply_next(connection, lambda number: tell(number, last))) is not None:
            done.append(number)
    return done


@contextmanager
def _locked(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Be alone for one transaction: behind a pooler a lock or setting of the session would stay there for others."""
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(%s)", [_LOCK])
        connection.execute("set local client_min_messages = warning")
        yield


def _apply_next(connection: psycopg.Connection[Any], tell: Callable[[int], None]) -> int | None:
    """Apply the first missing migration and return its number; None when none is missing."""
    with _locked(connection):
        missing = _missing(dict(connection.execute("select number, checksum from ado.migrations").fetchall()))
        if missing is None:
            return None
        tell(missing.number)
        connection.execute(f"set local lock_timeout = '{_LOCK_WAIT}'")
        try:
            connection.execute(missing.text.encode())
        except psycopg.Error as error:
            raise MigrationFailed(
                f"migration {missing.number} ({missing.name}) failed: {error}",
                "nothing of it was kept; it can be run again when the cause is gone",
            ) from error
        connection.execute(
            "insert into ado.migrations (number, name, checksum, oldest) values (%s, %s, %s, %s)",
            [missing.number, missing.name, missing.checksum, missing.oldest],
        )
    return missing.number


def _missing(applied: Mapping[int, str]) -> Migration | None:
    """Return the first migration that was not applied. Raises SchemaMismatch, MigrationFailed."""
    files_ = migrations()
    if applied and max(applied) > len(files_):
        raise SchemaMismatch(max(applied), len(files_))
    for migration in files_:
        if migration.number not in applied:
            return migration
        if applied[migration.number] != migration.checksum:
            raise MigrationFailed(
                f"migration {migration.number} ({migration.name}) is not the one that was applied",
                "install the release that the database was migrated with, or a newer one",
            )
    return None


def schema(dsn: str) -> Schema:
    """Return where a database is. Raises DatabaseUnavailable."""
    with connected(dsn, autocommit=True) as connection:
        if connection.execute("select to_regclass('ado.migrations')").fetchone() == (None,):
            return Schema(0, 0)
        row = connection.execute(queries.load()["schema_version"].named.encode()).fetchone()
        return Schema(*row) if row else Schema(0, 0)


def version(dsn: str) -> int:
    """Return the database's migration number; 0 for one that never was migrated."""
    return schema(dsn).version


def check(dsn: str) -> None:
    """Raise SchemaMismatch unless this release runs on the database's schema."""
    found = schema(dsn)
    if not found.serves(known()):
        raise SchemaMismatch(found.version, known())
