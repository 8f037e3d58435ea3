"""Problems behind a reachable server: locks that block its queue, spawners that stopped, refused writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.rpc.client import CallError, HttpClient, NoAnswer
from cli.remote.fleet import spawner_problem
from cli.render.ages import ago

SPAWNER_FIX = "start it again with ado spawner (ado up runs one), or look at its log"


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem, and what fixes it."""

    name: str
    message: str
    fix: str


def locks(health: Mapping[str, Any], now: datetime | None = None) -> list[Problem]:
    """Return the sessions whose locks block others; a server of an older release reports none."""
    return [Problem("locks", _holder(one, now), _ending(one)) for one in health.get("blockers") or ()]


def _holder(one: Mapping[str, Any], now: datetime | None) -> str:
    if one["pid"] == 0:
        who = "a prepared transaction"
    else:
        details = [str(one[name]) for name in ("role", "application", "state") if one.get(name)]
        who = f"the session with pid {one['pid']}" + (f" ({', '.join(details)})" if details else "")
    since = f", began {ago(one['transactionAt'], now)}" if one.get("transactionAt") else ""
    return f"{who}{since}, holds up {one['blocked']} others; the first began to wait {ago(one['waitingSince'], now)}"


def _ending(one: Mapping[str, Any]) -> str:
    if one["pid"] == 0:
        return "in psql: select gid, prepared from pg_prepared_xacts; then: rollback prepared 'GID'"
    return f"end it in psql: select pg_terminate_backend({one['pid']});"


def look(client: HttpClient) -> list[Problem]:
    """Return the problems of a server; one that does not answer is a problem itself."""
    try:
        if problems := _health_problems(client):  # a locked table blocks the next query
            return problems
        try:
            spawners = client.query("workers.status").get("spawners", [])
        except (CallError, NoAnswer):
            if problems := _health_problems(client):  # a lock is reported once others have waited for it
                return problems
            raise
    except CallError as error:
        return [Problem("api", error.message, error.hint or "ado doctor")]
    except NoAnswer:
        return [Problem("api", "does not answer", "ado doctor says why")]
    return [
        Problem("spawner", f"{spawner['spawnerId']} {problem}", SPAWNER_FIX)
        for spawner in spawners
        if (problem := spawner_problem(spawner))
    ]


def _health_problems(client: HttpClient) -> list[Problem]:
    health = client.query("system.health")
    problems = [Problem(part, problem, "ado doctor says what fixes it") for part, problem in health["problems"].items()]
    return problems + locks(health)
