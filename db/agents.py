"""Typed functions over ``sql/queries/agents.sql``: agents whose jobs wait, because they fail before they do anything.

``finish_jobs`` counts failures and ``claim_jobs`` notes probes. The rest is here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from db.actor import Actor, parameter
from db.database import Database


@dataclass(frozen=True, slots=True)
class UnhealthyAgentRow:
    """An agent whose jobs wait while one at a time tries it."""

    agent: str
    failures: int
    reason: str
    since: datetime
    failed_at: datetime
    probe_after: datetime
    is_probing: bool
    job_id: str
    """The job that tries it or tried it last; before the first probe, the job that failed last."""
    why: str

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> UnhealthyAgentRow:
        """Make one from a row of ``unhealthy_agents``."""
        return cls(**row)


async def unhealthy(db: Database) -> list[UnhealthyAgentRow]:
    """Return the agents whose jobs wait, by name."""
    return [UnhealthyAgentRow.of(row) for row in await db.many("unhealthy_agents")]


async def close_working(db: Database) -> list[str]:
    """Let the jobs of agents go on whose probes have used a tool; return the agents."""
    return [row["agent"] for row in await db.many("close_working_agents")]


async def reset(db: Database, agent: str, actor: Actor | None = None) -> int:
    """Forget the failures of an agent; return how many there were."""
    row = await db.optional("reset_agent", agent=agent, actor=parameter(actor))
    return row["failures"] if row else 0


async def prune(db: Database) -> int:
    """Delete rows that say nothing any more; return how many."""
    return len(await db.many("forget_agent_failures"))
