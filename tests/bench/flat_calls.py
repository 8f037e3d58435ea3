"""What ``tests.bench.flat`` measures: procedures, the steps of loops, scrapes, the cookbook and a prune.

Each measure takes one side and returns seconds by name, so that one round can measure several steps of one story.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

import asyncpg

from app.loops import monitor
from app.metrics.installation import AGENTS, REASONS
from app.settings import AppSettings
from db import (
    audit,
    counters,
    events,
    health,
    inputs,
    jobs,
    notifications,
    questions,
    samples,
    sessions,
    tasks,
    workers,
)
from db import files as stored_files
from db import tokens as tokens_table
from db.database import Database
from tests.bench.wire import LightClient
from tests.support.program import Cluster

_DAY = 86_400


@dataclass(slots=True)
class Side:
    """One database with a replica: the one with a history, or the small one."""

    dsn: str
    cluster: Cluster
    ended: int
    client: LightClient
    db: Database
    plain: asyncpg.Connection
    settings: AppSettings
    session: str = ""
    beats: int = 0

    @property
    def names(self) -> dict[str, str]:
        """Tasks of this side: the oldest, an ended one, the newest that ended, a queued and a running one."""
        places = {"old": 5, "middle": self.ended // 2, "new": self.ended, "queued": self.ended + 1}
        return {name: f"task-{number}" for name, number in places.items()}


Measure = Callable[[Side], Awaitable[dict[str, float]]]


class Laps:
    """Seconds by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def lap(self, name: str) -> Iterator[None]:
        """Measure one step."""
        began = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - began


def single(name: str, run: Callable[[Side], Awaitable[Any]]) -> Measure:
    """Return the measure of one step."""

    async def measure(side: Side) -> dict[str, float]:
        laps = Laps()
        with laps.lap(name):
            await run(side)
        return laps.seconds

    return measure


_LISTS: dict[str, dict[str, Any]] = {
    "": {},
    "limit 100": {"limit": 100},
    "status running": {"status": "running"},
    "status queued": {"status": "queued"},
    "status paused, a rare one": {"status": "paused"},
    "status failed": {"status": "failed"},
    "a common label": {"labels": {"team": "t1"}},
    "one of 10,000 labels": {"labels": {"run": "r7"}},
    "a rare label": {"labels": {"rare": "yes"}},
    "a rare label and a status": {"labels": {"rare": "yes"}, "status": "succeeded"},
    "a label that no task has": {"labels": {"none": "x"}},
    "a label's name": {"labelNames": ["team"]},
    "the name of a rare label": {"labelNames": ["rare"]},
    "a name that no task has": {"labelNames": ["none"]},
    "a common agent": {"agents": ["claude-code"]},
    "an agent that no task has": {"agents": ["codex"]},
    "a creator": {"createdBy": "person-1"},
    "a creator of old tasks": {"createdBy": "person-10"},
    "mine, none": {"mine": True},
    "since a minute": {"since": 60},
    "since a day": {"since": _DAY},
    "until a day ago": {"until": _DAY},
    "until 20 days ago": {"until": 20 * _DAY},
    "a page far back": {"cursor": "task-200"},
}
_READS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    *((f"tasks.list {name}".rstrip(), "tasks.list", value) for name, value in _LISTS.items()),
    ("tasks.get, ended", "tasks.get", {"taskId": "old"}),
    ("tasks.get, queued", "tasks.get", {"taskId": "queued"}),
    ("tasks.search", "tasks.search", {"taskId": "middle", "text": "output"}),
    ("tasks.messages", "tasks.messages", {"taskId": "middle"}),
    ("tasks.kvList", "tasks.kvList", {"taskId": "middle"}),
    ("tasks.kvGet", "tasks.kvGet", {"taskId": "middle", "key": "k"}),
    ("questions.list", "questions.list", {}),
    ("questions.list of a task", "questions.list", {"taskId": "middle"}),
    ("notifications.list", "notifications.list", {}),
    ("workers.list", "workers.list", {"limit": 10}),
    ("workers.list idle", "workers.list", {"state": "idle"}),
    ("workers.status", "workers.status", {}),
    ("files.list", "files.list", {"taskId": "middle"}),
    ("stats.series", "stats.series", {}),
    ("system.health", "system.health", {}),
    ("tokens.list", "tokens.list", {}),
    ("audit.list", "audit.list", {}),
    ("audit.list of a task", "audit.list", {"taskId": "middle"}),
    ("audit.list of a user", "audit.list", {"user": "person-1"}),
    ("users.list", "users.list", {}),
    ("users.whoami", "users.whoami", {}),
)
_STREAMS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("stream.taskEvents", {"taskId": "middle", "follow": False}),
    ("stream.taskEvents", {"taskId": "middle", "follow": False, "tail": 2}),
    ("stream.taskOutput", {"taskId": "middle", "job": 0}),
    ("stream.taskProgress", {"taskId": "middle"}),
    ("stream.systemEvents", {}),
)


def procedures() -> Iterator[Measure]:
    """Queries, and the first item of subscriptions."""
    for name, path, value in _READS:

        async def read(side: Side, path: str = path, value: dict[str, Any] = value) -> None:
            await side.client.call(path, _named(side, value), "query")

        yield single(name, read)
    for path, value in _STREAMS:
        yield _first_item(path, value)


def _first_item(path: str, value: dict[str, Any]) -> Measure:
    async def measure(side: Side) -> dict[str, float]:
        laps, came = Laps(), asyncio.Event()
        client = await LightClient.open(side.cluster.urls[0], side.cluster.token)
        with laps.lap(path + (", tail" if "tail" in value else "")):
            client.subscribe(path, _named(side, value), lambda _: came.set())
            await came.wait()
        client.close()
        return laps.seconds

    return measure


def _named(side: Side, value: dict[str, Any]) -> dict[str, Any]:
    return {name: side.names.get(member, member) if name == "taskId" else member for name, member in value.items()}


async def people(side: Side) -> dict[str, float]:
    """What people do to tasks: create, update, send, store a value, pause, resume, cancel, retry, remove."""
    laps, call = Laps(), side.client.call
    with laps.lap("tasks.create"):
        task = (await call("tasks.create", {"prompt": "x", "agent": "nobody", "labels": {"run": "r7"}}))["taskId"]
    steps: tuple[tuple[str, dict[str, Any]], ...] = (
        ("tasks.update", {"version": 1, "priority": 1}),
        ("tasks.kvSet", {"key": "k", "value": 1}),
        ("tasks.pause", {}),
        ("tasks.resume", {}),
        ("tasks.cancel", {}),
        ("tasks.retry", {}),
    )
    for path, value in steps:
        with laps.lap(path):
            await call(path, {"taskId": task, **value})
    await call("tasks.cancel", {"taskId": task})
    with laps.lap("tasks.remove"):
        await call("tasks.remove", {"taskId": task})
    return laps.seconds


async def worker(side: Side) -> dict[str, float]:
    """What a worker does for one job: claim, heartbeat, append, finish."""
    laps, call = Laps(), side.client.call
    me = {"workerId": "flat"}
    if not side.session:
        hello = {**me, "capabilities": ["flat", "shell", "tool:1"], "instance": "flat", "slots": 1}
        with laps.lap("workers.register"):
            side.session = (await call("workers.register", hello))["session"]
        side.beats = 0
    # a job of another demand, before all the others
    task = (await call("tasks.create", {"prompt": "x", "agent": "flat", "priority": 9}))["taskId"]
    with laps.lap("workers.claim"):
        claimed = await call("workers.claim", {**me, "session": side.session, "waitSeconds": 0})
    (job,) = claimed["jobs"]
    assert job["jobId"].startswith(task)
    fence = {**me, "jobId": job["jobId"], "attempt": job["attempt"]}
    with laps.lap("workers.heartbeat"):
        await call("workers.heartbeat", {**me, "session": side.session, "jobs": []})
    event = {"type": "output", "stream": "stdout", "data": "a line\n", "at": datetime.now(UTC).isoformat()}
    with laps.lap("workers.append"):
        await call("workers.append", {**fence, "batch": 1, "events": [event]})
    with laps.lap("workers.finish"):
        await call("workers.finish", {**fence, "outcome": "succeeded", "lastBatch": 1})
    return laps.seconds


LOOPS: dict[str, Callable[[Side], Awaitable[Any]]] = {
    "monitor: leases": lambda side: jobs.overdue(side.db, 15),
    "monitor: abandoned jobs": lambda side: jobs.abandoned(side.db),
    "monitor: timeouts": lambda side: jobs.time_out(side.db),
    "monitor: start limits": lambda side: jobs.fail_unstarted(side.db),
    "monitor: questions": lambda side: questions.close(side.db),
    "monitor: answered jobs": lambda side: questions.resume_answered(side.db),
    "monitor: unsettled tasks": lambda side: tasks.unsettled(side.db),
    "monitor: a whole step": lambda side: monitor.step(side.db, side.settings),
    "janitor: metric notes": lambda side: counters.add_notes(side.db, AGENTS, REASONS),
    "janitor: partitions": lambda side: events.extend(side.db, 0),
    "janitor: workers": lambda side: workers.prune(side.db, _DAY),
    "janitor: pods": lambda side: workers.prune_pods(side.db, _DAY),
    "janitor: tokens": lambda side: tokens_table.prune(side.db),
    "janitor: codes": lambda side: sessions.prune_codes(side.db),
    "janitor: samples": lambda side: samples.prune(side.db),
    "janitor: files": lambda side: stored_files.prune(side.db, _DAY, 60 * _DAY),
    "janitor: input": lambda side: inputs.forget(side.db),
    "janitor: environments": lambda side: tasks.forget_environments(side.db, 7 * _DAY),
    "janitor: notifications": lambda side: notifications.prune(side.db),
    "janitor: audit": lambda side: audit.prune(side.db, 400),
    "waiting claims: demands": lambda side: jobs.ready_demands(side.db, {"shell", "tool:1"}),
    "commands: held jobs": lambda side: workers.all_held(side.db),
    "commands: workers with commands": lambda side: workers.open_commands(side.db, []),
    "notifications: due": lambda side: notifications.claim(side.db, target_limit=10),
    "system events: tasks": lambda side: tasks.watched(side.db, limit=100, newest=None, known=[], late_ids=100),
    "spawner: workers": lambda side: side.db.many("spawner_workers"),
    "pods: jobs without a pod": lambda side: side.db.many(
        "podless_jobs", capabilities=["shell"], row_limit=100, closed=[]
    ),
    "pods: open ones": lambda side: side.db.many("open_pods", namespace="ado"),
    "prune: old ranges, none": lambda side: side.db.many("old_ranges", seconds=10_000.0 * _DAY, only=None),
    "scrape: jobs": lambda side: health.jobs(side.db),
    "scrape: workers": lambda side: workers.counts(side.db),
    "scrape: spawners": lambda side: health.spawners(side.db),
    "scrape: transactions": lambda side: health.oldest_activity(side.db),
    "scrape: locks": lambda side: health.blockers(side.db),
    "scrape: counters": lambda side: counters.figures(side.db, AGENTS, REASONS),
    "scrape: sizes": lambda side: health.sizes(side.db),
    "health: waiting jobs": lambda side: side.db.many("waiting_jobs"),
}


def loops() -> Iterator[Measure]:
    """Steps of loops, of spawners and of a scrape, when there is nothing to do."""
    for name, run in LOOPS.items():
        yield single(name, run)
    yield _sample


async def _sample(side: Side) -> dict[str, float]:
    """Take the sample of this minute anew, though it is there."""
    await side.plain.execute("delete from ado.samples where at > now() - interval '2 minutes'")
    laps = Laps()
    with laps.lap("janitor: a sample"):
        await samples.take(side.db)
    return laps.seconds


_RECIPE = re.compile(r"^(\S[^\n]*)\n\n```sql\n(.*?)```", re.DOTALL | re.MULTILINE)


def cookbook() -> Iterator[Measure]:
    """The operators' questions, as ``sql/README.md`` asks them."""
    for question, recipe in _RECIPE.findall(files("sql").joinpath("README.md").read_text()):

        async def ask(side: Side, recipe: str = recipe) -> None:
            await side.plain.fetch(recipe)

        yield single(f"cookbook: {question}", ask)
