"""What can go wrong between ado and its database.

DatabaseError
├── SchemaMismatch        this release does not run on the database's schema
├── MigrationFailed       a migration did not apply, or an applied one was changed
├── DatabaseUnavailable   no connection, or it broke before an answer came
│   ├── DatabaseReadOnly  it takes no writes: a standby, or a demoted primary
│   └── DatabaseFull      it can store no more: its disk is full
├── DatabaseRefused       a value cannot be stored: NUL in a text, a number out of range
├── EmbeddedError         the embedded server cannot be started
├── LogPruned             the events a reader asks for have been dropped
├── LogRewound            a reader has seen more of a log than the database has
└── PruneBusy             a prune could not get on: another one, or an old transaction, is in its way
"""

from __future__ import annotations


class DatabaseError(Exception):
    """Base of the tree: one sentence, and the next step in ``next_step``."""

    next_step = "look at the database server's log"

    def __init__(self, message: str, next_step: str | None = None) -> None:
        super().__init__(message)
        if next_step is not None:
            self.next_step = next_step


class SchemaMismatch(DatabaseError):
    """The database is at a migration that this release does not run on."""

    def __init__(self, current: int, known: int) -> None:
        older = current < known
        step = "run: ado db migrate" if older else "deploy a newer release of ado"
        super().__init__(f"the database is at migration {current}, this release needs {known}", step)
        self.current = current
        self.known = known


class MigrationFailed(DatabaseError):
    """A migration did not apply, or one that had been applied reads differently now."""


class DatabaseUnavailable(DatabaseError):
    """There is no connection, or it broke before the answer came."""

    next_step = "check that Postgres runs and that ADO_DSN names it; nothing is lost, calls may be sent again"


class DatabaseReadOnly(DatabaseUnavailable):
    """The database takes no writes: it is a standby, or a primary that was demoted."""

    next_step = "promote it, or name the primary in ADO_DSN; of several hosts the one that takes writes is used"

    def __init__(self) -> None:
        super().__init__("the database refuses writes: it is read-only")


class DatabaseFull(DatabaseUnavailable):
    """The database can store no more: its disk is full."""

    next_step = "free space on the database's disk: ado db prune drops old logs; workers keep their output and go on"

    def __init__(self) -> None:
        super().__init__("the database refuses writes: its disk is full")


class DatabaseRefused(DatabaseError):
    """A value cannot be stored: NUL in a text, a number out of range."""

    next_step = "leave out what cannot be stored"


class EmbeddedError(DatabaseError):
    """The embedded server cannot be started; ``next_step`` says what to do."""


class LogPruned(DatabaseError):
    """The events that a reader asks for were dropped with their range."""

    next_step = "the task's row still tells how it ended: ado tasks show"


class LogRewound(DatabaseError):
    """A reader has seen more of a log than the database has: a failover lost its tail, or a backup was restored."""

    next_step = "read on after the last event that is still the same"

    def __init__(self, task_id: int, cursor: int, last_seq: int) -> None:
        where = f"ends at seq {last_seq}, before" if cursor > last_seq else "has changed since it was read up to"
        super().__init__(f"the log of task-{task_id} {where} seq {cursor}: the database has lost events")
        self.last_seq = last_seq


class PruneBusy(DatabaseError):
    """A prune could not get on: another one, or an old transaction, is in its way."""
