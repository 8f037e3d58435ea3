"""Typed functions over ``sql/queries/templates.sql``: tasks to run again by a name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import orjson

from db.actor import Actor, parameter
from db.database import Database
from db.model import record_of


@dataclass(frozen=True, slots=True)
class TemplateRow:
    """A stored template."""

    template_id: int
    name: str
    task: dict[str, Any]
    """The input of tasks.create."""
    saved_by: str | None
    owner_name: str | None
    created_at: datetime
    saved_at: datetime
    now: datetime
    """The time of the database when it was read."""

    @classmethod
    def of(cls, row: Any) -> TemplateRow:
        """Make the record of a row."""
        return record_of(cls, row, task=orjson.loads(row["task"]))


@dataclass(frozen=True, slots=True)
class TemplateLine:
    """A template in a list, with the beginning of its prompt."""

    name: str
    prompt: str
    agent: str | None
    owner_name: str | None
    saved_at: datetime


@dataclass(frozen=True, slots=True)
class TemplateSource:
    """What a task was created with, and the names of its environment."""

    task: dict[str, Any]
    env_names: Sequence[str]


async def save(
    db: Database,
    name: str,
    task: dict[str, Any],
    *,
    saved_by: str | None,
    overwrite: bool,
    only: str | None,
    most: int,
    actor: Actor | None,
) -> TemplateRow | None:
    """Store a template. None: it exists and may not be overwritten by ``only``, or its owner has ``most``."""
    row = await db.optional(
        "save_template",
        template=name,
        task=orjson.dumps(task).decode(),
        saved_by=saved_by,
        overwrite=overwrite,
        only=only,
        most=most,
        actor=parameter(actor),
    )
    return TemplateRow.of(row) if row else None


async def find(db: Database, name: str, only: str | None = None) -> TemplateRow | None:
    """Return a template by its name; with ``only`` just that of one owner."""
    row = await db.optional("find_template", template=name, only=only)
    return TemplateRow.of(row) if row else None


async def listing(db: Database, only: str | None, after: str, *, prompt_chars: int, most: int) -> list[TemplateLine]:
    """Return templates by name from the one after ``after`` on, of one owner or of everybody."""
    rows = await db.many("list_templates", only=only, after=after, prompt_chars=prompt_chars, most=most)
    return [TemplateLine(**row) for row in rows]


async def remove(db: Database, name: str, only: str | None, actor: Actor | None) -> Sequence[int] | None:
    """Remove a template; return the schedules that use it and keep it. None: there is none."""
    values = {"template": name, "only": only, "actor": parameter(actor)}
    try:
        row = await db.one("remove_template", **values)
    except asyncpg.ForeignKeyViolationError:  # a schedule was added at the same moment
        row = await db.one("remove_template", **values)
    return row["schedules"] if row["found"] else None


async def source(db: Database, task_id: int) -> TemplateSource | None:
    """Return what a task was created with, besides its environment and files."""
    row = await db.optional("template_source", task_id=task_id)
    return TemplateSource(orjson.loads(row["task"]), row["env_names"]) if row else None
