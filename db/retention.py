"""Dropping old ranges of the log, on psycopg: what ``ado db prune`` does directly on the database.

A range goes in three steps, each of which can be the last before a kill; the next prune goes on from there.
*Marked*: readers are told that it is pruned, its tasks can not be retried. For the moment of the decision no task is
created or retried, so none can land in the range any more; appends do not touch that lock.
*Detached*, concurrently: appends and readers of other ranges go on, and those who could still see the partition are
waited for. *Dropped*: by then it is a table that nobody knows.
The statements here name a partition or are no queries, so they can not stand in ``sql/queries``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from db.actor import parameter
from db.errors import DatabaseReadOnly, DatabaseUnavailable, PruneBusy
from db.primary_host import session_options
from db.queries import load
from db.token_admin import by_login

Connection = psycopg.Connection[dict[str, Any]]
_LOCK: Final = 0x61646F70  # "adop": one prune at a time
_LOCK_TRIES = 50
_LOCK_MILLISECONDS = 100
_PAUSE_SECONDS = 0.2
_STEPS: dict[str, LiteralString] = {
    "attached": "alter table ado.events detach partition ado.{} concurrently",
    "detaching": "alter table ado.events detach partition ado.{} finalize",
}


@dataclass(frozen=True, slots=True)
class PrunedRange:
    """A range of task ids whose log is gone."""

    first: int
    last: int
    tasks: int
    bytes: int


def prune(dsn: str, older_than_seconds: float, *, wait_seconds: float = 60.0) -> Iterator[PrunedRange]:
    """Drop the ranges whose tasks all ended so long ago, one after the other, and yield each.

    ``wait_seconds`` is for older transactions that may still read the range. Raises PruneBusy, DatabaseUnavailable.
    """
    try:
        options = session_options(dsn)
        with psycopg.connect(
            dsn, autocommit=True, row_factory=dict_row, prepare_threshold=None, **options
        ) as connection:
            connection.execute("select set_config('statement_timeout', %s, false)", [f"{wait_seconds}s"])
            with _alone(connection):
                _drop_marked(connection)  # of a prune that was killed
                for row in _run(connection, "old_ranges", seconds=older_than_seconds):
                    if (found := _mark(connection, row["from_task_id"], older_than_seconds)) is not None:
                        _drop_marked(connection)
                        yield found
    except psycopg.errors.QueryCanceled as error:
        raise PruneBusy(
            "a transaction that is older than the prune may still read the log", "end it, then prune again"
        ) from error
    except psycopg.errors.ReadOnlySqlTransaction as error:
        raise DatabaseReadOnly from error
    except psycopg.OperationalError as error:
        raise DatabaseUnavailable(f"cannot connect to the database: {str(error).strip()}") from error


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    if not connection.execute("select pg_try_advisory_lock(%s) as mine", [_LOCK]).fetchone()["mine"]:  # type: ignore[index]
        raise PruneBusy("another prune is under way", "wait for it")
    try:
        yield
    finally:  # here, because a server lets go of what a session held only some time after its connection was closed
        with suppress(psycopg.Error):
            connection.execute("select pg_advisory_unlock(%s)", [_LOCK])


def _run(connection: Connection, name: str, **values: Any) -> list[dict[str, Any]]:
    query = load()[name]
    query.arguments(values)
    return connection.execute(query.named.encode(), values).fetchall()


def _mark(connection: Connection, from_task_id: int, seconds: float) -> PrunedRange | None:
    """Decide once more about a range, now with the lock, and mark it; None when it is no longer old."""
    for _ in range(_LOCK_TRIES):
        try:
            with connection.transaction():
                connection.execute("select set_config('lock_timeout', %s, true)", [f"{_LOCK_MILLISECONDS}ms"])
                connection.execute("lock table ado.tasks in share mode")
                old = {row["from_task_id"] for row in _run(connection, "old_ranges", seconds=seconds)}
                if from_task_id not in old:
                    return None
                actor = parameter(by_login(connection, "db.prune"))
                row = _run(connection, "mark_pruned", from_task_id=from_task_id, actor=actor)[0]
                return PrunedRange(from_task_id, row["to_task_id"] - 1, row["tasks"], row["bytes"])
        except psycopg.errors.LockNotAvailable:
            time.sleep(_PAUSE_SECONDS)  # who waits for a lock holds up all who come later: let them by
    raise PruneBusy("a transaction holds the tasks", "end it, then prune again")


def _drop_marked(connection: Connection) -> None:
    while rows := _run(connection, "undropped_ranges"):
        for row in rows:
            partition = sql.Identifier(row["partition"])
            if (step := _STEPS.get(row["state"])) is not None:
                connection.execute(sql.SQL(step).format(partition))
            connection.execute(sql.SQL("drop table ado.{}").format(partition))
