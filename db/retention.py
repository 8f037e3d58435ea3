"""Dropping old ranges of the log, synchronously: ``ado db prune`` does it directly on the database.

A range is dropped in three steps. A kill may come after any of them; the next prune goes on from there.
*Marked*: readers get "pruned", and its tasks cannot be retried. While a range is decided about, no task is created or
retried, so no task can enter the range any more. Appends do not take that lock.
*Detached*, concurrently: appends and readers of other ranges go on, and Postgres waits for transactions that may still
see the partition. *Dropped*: by then no statement knows the table.
The statements here name a partition or are no queries, so they cannot be in ``sql/queries``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final, LiteralString

import psycopg
from psycopg import sql

from db.actor import parameter
from db.connect import SyncConnection, connected, run
from db.errors import PruneBusy
from db.token_admin import login_actor

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
    with connected(dsn, autocommit=True, prepare_threshold=None) as connection:
        connection.execute("select set_config('statement_timeout', %s, false)", [f"{wait_seconds}s"])
        try:
            with _alone(connection):
                _drop_marked(connection)  # those of a prune that was killed
                for row in run(connection, "old_ranges", seconds=older_than_seconds, only=None):
                    if (pruned := _mark(connection, row["from_task_id"], older_than_seconds)) is not None:
                        _drop_marked(connection)
                        yield pruned
        except psycopg.errors.QueryCanceled as error:
            raise PruneBusy(
                "a transaction that is older than the prune may still read the log", "end it, then prune again"
            ) from error


@contextmanager
def _alone(connection: SyncConnection) -> Iterator[None]:
    if not connection.execute("select pg_try_advisory_lock(%s) as mine", [_LOCK]).fetchone()["mine"]:  # type: ignore[index]
        raise PruneBusy("another prune is under way", "wait for it")
    try:
        yield
    finally:  # explicitly: a server releases a closed session's locks only some time later
        with suppress(psycopg.Error):
            connection.execute("select pg_advisory_unlock(%s)", [_LOCK])


def _mark(connection: SyncConnection, from_task_id: int, seconds: float) -> PrunedRange | None:
    """Check a range again, now under the lock, and mark it; None if it is no longer old."""
    for _ in range(_LOCK_TRIES):
        try:
            with connection.transaction():
                connection.execute("select set_config('lock_timeout', %s, true)", [f"{_LOCK_MILLISECONDS}ms"])
                connection.execute("lock table ado.tasks in share mode")
                # only this range: while the lock is held, no task is created
                if not run(connection, "old_ranges", seconds=seconds, only=from_task_id):
                    return None
                actor = parameter(login_actor(connection, "db.prune"))
                row = run(connection, "mark_pruned", from_task_id=from_task_id, actor=actor)[0]
                return PrunedRange(from_task_id, row["to_task_id"] - 1, row["tasks"], row["bytes"])
        except psycopg.errors.LockNotAvailable:
            time.sleep(_PAUSE_SECONDS)  # a waiting lock blocks everybody who comes later, so let them pass
    raise PruneBusy("a transaction holds the tasks", "end it, then prune again")


def _drop_marked(connection: SyncConnection) -> None:
    while rows := run(connection, "undropped_ranges"):
        for row in rows:
            partition = sql.Identifier(row["partition"])
            if (step := _STEPS.get(row["state"])) is not None:
                connection.execute(sql.SQL(step).format(partition))
            connection.execute(sql.SQL("drop table ado.{}").format(partition))
