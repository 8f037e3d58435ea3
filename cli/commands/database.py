"""``ado db``: the database's schema and its old logs."""

from __future__ import annotations

from typing import Any

from cli.declarations import App
from cli.direct_database import dsn_of
from cli.errors import fail
from cli.option_values import seconds_of
from cli.output import talk, write_items, write_note
from cli.parameters import OutputOption

database = App(name="db", help="The database's schema and its old logs.")


@database.command(name="migrate")
def migrate_(*, dsn: str | None = None, output: OutputOption = "text") -> None:
    """Bring the database to this release's schema."""
    chosen = dsn_of(dsn)  # before the imports: it says what is not installed
    from db import migrate
    from db.errors import DatabaseError

    try:
        done = migrate.migrate(chosen)
    except DatabaseError as error:
        fail(error)
    note = f"applied {', '.join(map(str, done))}" if done else "the schema is up to date"
    write_note({"applied": list(done)}, output, note)


@database.command(name="check")
def check_(*, dsn: str | None = None, output: OutputOption = "text") -> None:
    """Say whether the database is at this release's schema."""
    chosen = dsn_of(dsn)
    from db import migrate
    from db.errors import DatabaseError

    try:
        migrate.check(chosen)
    except DatabaseError as error:
        fail(error)
    write_note({"version": migrate.known()}, output, "the schema is up to date")


@database.command
def prune(*, older_than: str, dsn: str | None = None, output: OutputOption = "text") -> None:
    """Drop the logs of tasks that ended long ago, range by range. Tasks and jobs stay, with how they ended.

    A range of task ids is dropped once all its ids are used and all its tasks ended before then. Nothing waits for it.

    Parameters
    ----------
    older_than
        Ended before: 30d, 12h, 90m ago.
    dsn
        The database; ADO_DSN does the same.
    """
    chosen, seconds = dsn_of(dsn), seconds_of(older_than)
    from db import migrate, retention
    from db.errors import DatabaseError

    try:
        migrate.check(chosen)
        ranges = list(retention.prune(chosen, seconds))
    except DatabaseError as error:
        fail(error)
    items: list[dict[str, Any]] = [
        {"name": f"task-{pruned.first}..task-{pruned.last}", "tasks": pruned.tasks, "bytes": pruned.bytes}
        for pruned in ranges
    ]
    if not items and output == "text":
        talk("ado: nothing to prune: no range of task ids is used up and ended before then (see ado.log_status)")
    else:
        rows = [[item["name"], str(item["tasks"]), f"{item['bytes'] / 2**20:.1f}"] for item in items]
        write_items({"items": items}, output, "name", [["pruned", "tasks", "MiB"], *rows])
