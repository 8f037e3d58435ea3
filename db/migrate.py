"""Migrations: numbered files, forward only, each applied once under an advisory lock.

Authority is the table ``ado.migrations``: number, name and checksum of what was applied. If another process migrates at
the same time, that is success. A file that differs from what was applied is an error, because then nobody knows what
the database is.

The first file is the baseline: it makes what the migrations up to its number made. A database that has them recorded
goes on after the baseline, and their names and checksums are not compared.

A release runs on its own schema, and on a newer one that allows it. A migration with the comment line ``-- oldest: N``
only adds, so the release whose newest migration is N still finds everything it uses, and replicas of both releases work
side by side. Without the line, older releases are refused.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files

import psycopg

from db.connect import SyncConnection, connected, run
from db.errors import MigrationFailed, SchemaMismatch

_OLDEST = re.compile(r"^-- oldest: (\d+)$", re.MULTILINE)
_LOCK_WAIT = "10s"  # while a migration waits for a table, everybody else who wants it waits behind the migration
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
    """Read the migrations in order: the baseline, and then consecutive numbers."""
    listing = sorted(files("sql").joinpath("migrations").iterdir(), key=lambda item: item.name)
    ordered = [
        Migration(int(match[1]), match[2], file.read_text("utf-8"))
        for file in listing
        if (match := _NAME.match(file.name))
    ]
    if not ordered or [item.number for item in ordered] != list(range(ordered[0].number, ordered[-1].number + 1)):
        raise MigrationFailed("a migration file is missing", "reinstall ado")
    return ordered


def known() -> int:
    """Return the number of the newest migration of this release."""
    return migrations()[-1].number


def migrate(dsn: str, notify: Callable[[int, int], None] = lambda _place, _count: None) -> list[int]:
    """Bring the database to this release's schema and return the numbers that were applied.

    ``notify`` gets the place of each migration among this release's files before it is applied, from 1 on, and how
    many files there are. Raises MigrationFailed, SchemaMismatch (the database is newer) or DatabaseUnavailable.
    """
    applied: list[int] = []
    files_ = migrations()
    before_first = files_[0].number - 1  # the files begin at the baseline's number

    def announce(number: int) -> None:
        notify(number - before_first, len(files_))

    with connected(dsn, autocommit=True, prepare_threshold=None) as connection:
        with _locked(connection):
            connection.execute(_BOOTSTRAP)
        while (number := _apply_next(connection, announce)) is not None:
            applied.append(number)
    return applied


@contextmanager
def _locked(connection: SyncConnection) -> Iterator[None]:
    """Hold the lock for one transaction: behind a pooler, a session lock or setting would reach other clients."""
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(%s)", [_LOCK])
        connection.execute("set local client_min_messages = warning")
        yield


def _apply_next(connection: SyncConnection, notify: Callable[[int], None]) -> int | None:
    """Apply the first missing migration and return its number; None when none is missing."""
    with _locked(connection):
        applied = connection.execute("select number, checksum from ado.migrations").fetchall()
        missing = _missing({row["number"]: row["checksum"] for row in applied})
        if missing is None:
            return None
        notify(missing.number)
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
    known_migrations = migrations()
    baseline, newest = known_migrations[0].number, known_migrations[-1].number
    if applied and max(applied) > newest:
        raise SchemaMismatch(max(applied), newest)
    if applied and max(applied) < baseline:
        raise MigrationFailed(
            f"the database is at migration {max(applied)}; this release migrates databases from {baseline} on",
            "migrate it with release 0.1.0 first, then with this one",
        )
    for migration in known_migrations:
        if migration.number not in applied:
            return migration
        if migration.number > baseline and applied[migration.number] != migration.checksum:
            raise MigrationFailed(
                f"migration {migration.number} ({migration.name}) is not the one that was applied",
                "install the release that the database was migrated with, or a newer one",
            )
    return None


def schema(dsn: str) -> Schema:
    """Return where a database is. Raises DatabaseUnavailable."""
    with connected(dsn, autocommit=True) as connection:
        if connection.execute("select from pg_class where oid = to_regclass('ado.migrations')").fetchone() is None:
            return Schema(0, 0)
        return Schema(**run(connection, "schema_version")[0])


def version(dsn: str) -> int:
    """Return the database's migration number; 0 for one that never was migrated."""
    return schema(dsn).version


def check(dsn: str) -> None:
    """Raise SchemaMismatch unless this release runs on the database's schema."""
    current = schema(dsn)
    if not current.serves(known()):
        raise SchemaMismatch(current.version, known())
