"""One embedded server a session; a database of its own for each test, cloned from a migrated template."""

import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from db.embedded import EmbeddedServer
from db.migrate import migrate

DIRECTORY = "ADO_TEST_DIRECTORY"
"""The variable that names the directory of this run, in which all others are."""
CONNECTIONS = "400"  # four processes may each have a module's two replicas and a test's, with a dozen connections each
LOCK_WAITS = "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
"""Gives a row for each session that waits for a lock in this database; tests beside this one have others."""


def fast_directory() -> Path:
    """Return a new directory, in memory where there is room; other users may enter it."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 1 << 30
    runs_programs = roomy and not os.statvfs(memory).f_flag & os.ST_NOEXEC  # containers often forbid it
    within = os.environ.get(DIRECTORY) or (memory if runs_programs else None)
    directory = Path(tempfile.mkdtemp(prefix="ado-test-", dir=within))
    directory.chmod(0o755)
    return directory


def remove(directory: Path) -> None:
    """Remove a directory; what is just being ended, as the agents of a killed worker are, may still write to it."""
    end = time.monotonic() + 60
    while directory.exists():
        shutil.rmtree(directory, ignore_errors=True)
        assert time.monotonic() < end, f"{directory} is still written to"


@dataclass(frozen=True)
class Pg:
    """A server as pytest-postgresql's ``depends_on`` reads it."""

    host: str
    port: int
    user: str
    password: str | None
    maintenance_dbname: str
    options: str = ""
    template_dbname: str | None = None


def described(dsn: str) -> Pg:
    """Return the parts of a DSN."""
    parts = conninfo_to_dict(dsn)
    return Pg(
        str(parts.get("host", "127.0.0.1")),
        int(parts.get("port") or 5432),
        str(parts["user"]),
        parts.get("password"),
        str(parts.get("dbname", "postgres")),
    )


def dsn_of(pg: Pg, name: str) -> str:
    """Return the DSN of a database on a server."""
    password = f":{pg.password}" if pg.password else ""
    if pg.host.startswith("/"):
        return f"postgresql:///{name}?host={pg.host}&user={pg.user}"
    return f"postgresql://{pg.user}{password}@{pg.host}:{pg.port}/{name}"


def load_schema(*, host: str, port: int, user: str, dbname: str, password: str | None, **_: object) -> None:
    """Migrate a template database."""
    migrate(dsn_of(Pg(host, port, user, password, "postgres"), dbname))


def start_server(bindir: Path | None = None) -> tuple[EmbeddedServer, Path, str]:
    """Start a server that gives up durability; return it, its directory and its superuser's DSN."""
    directory = fast_directory()
    server = EmbeddedServer(
        directory / "pg", fast=True, settings={"shared_buffers": "64MB", "max_connections": CONNECTIONS}, bindir=bindir
    )
    try:
        server.start()
        return server, directory, server.superuser_dsn
    except BaseException:
        remove(directory)
        raise


def system_bindirs() -> list[Path]:
    """Return the system's Postgres installations that have a server."""
    return [path for path in sorted(Path("/usr/lib/postgresql").glob("*/bin")) if (path / "initdb").exists()]


def execute(dsn: str, statement: str) -> None:
    """Run a statement outside of any transaction."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statement.encode())
