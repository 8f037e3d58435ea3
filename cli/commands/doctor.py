"""``ado doctor``: checks the connection to the workers, and says what fixes each failure."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from app.rpc.client import CallError, NoAnswer
from app.rpc.client.tls import Trust, untrusted
from cli import exits, local_runs
from cli.agents import HIDDEN
from cli.invocation import as_typed
from cli.option_values import seconds_of
from cli.output import table, write_items, write_one
from cli.remote.connection import NO_OPTIONS, ServerOptions, choose
from cli.remote.connection import http as client_of
from cli.remote.contexts import ServerContext
from cli.remote.fleet import remedy, spawner_problem
from cli.remote.health_pages import page
from cli.remote.listing import workers_status
from cli.remote.problems import SPAWNER_FIX, locks
from cli.render.terminal import colours

_SKEW_SECONDS = 5.0
_LOCKED_SECONDS = 2.0  # for each replica, when a lock is known that may keep it from an answer
_LOCKS_FIX = "in psql: select * from ado.lock_blockers; then end the session: select pg_terminate_backend(PID);"
_LIVE = ("idle", "busy", "starting", "draining")
_FIXES = {
    "refuses writes: it is read-only": "promote it, or name the primary in ADO_DSN (of several the primary is used)",
    "refuses writes: its disk is full": "free space on its disk (ado db prune drops old logs); workers then go on",
    "process": "wait for its restart, or look at the replica's log",
    "database": "start Postgres, or check ADO_DSN of the replicas",
    "schema": "ado db migrate with this release, or deploy the release that fits",
    "listener": "check ADO_LISTEN_DSN of the replicas: it must lead to Postgres itself",
}


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check, and what fixes a failure."""

    name: str
    ok: bool
    message: str
    fix: str = ""


def doctor(
    *, agents: bool = False, latency: bool = False, within: str = "30s", options: ServerOptions = NO_OPTIONS
) -> int:
    """Check the connection to the workers; each failure says what fixes it.

    Parameters
    ----------
    agents
        Check which AI agents can start on this machine instead.
    latency
        Run a small task on a worker instead, and measure how long its output takes to get here.
    within
        How long a worker may take to begin with that task: 30s, 5m.
    """
    if agents:
        return _agents(options)
    server = choose(options)
    if latency:
        _latency(server, seconds_of(within), options)
        return exits.SUCCESS
    checks = checks_of(server)
    rows = [line for check in checks for line in _rows(check)]
    items = [{**asdict(check), "fix": None if check.ok else check.fix} for check in checks]
    failed = [check for check in checks if not check.ok]
    write_items({"items": items, "ok": not failed}, options.output, "name", rows, _with_colour)
    return exits.FAILED if failed else exits.SUCCESS


def checks_of(server: ServerContext) -> list[Check]:
    """Check a server's replicas, its database, its workers and its spawners."""
    replicas = [check for url in server.urls for check in _check_replica(url, server.trust)]
    called = _check_calls(server)
    if any(check.name == "locks" for check in called):  # with the session's name
        replicas = [check for check in replicas if check.name != "locks"]
    return replicas + called


def _latency(server: ServerContext, within: float, options: ServerOptions) -> None:
    """Show how long output takes from a worker to here, and how much of it is the database and its disk."""
    from cli.remote.latency import measure

    measured = measure(server, within)
    stream, database, clocks = measured["latency"], measured["database"], measured["clocks"]
    rows = [
        ["write → here", f"p50 {stream['p50Ms']:.1f} ms, p99 {stream['p99Ms']:.1f} ms, {stream['count']} writes"],
        ["notification", _milliseconds(database.get("notifyMs"), "does not arrive: readers poll, up to a second late")],
        ["commit", f"{database['commitMs']:.1f} ms, of which the disk {database['flushMs']:.1f} ms"],
        ["clocks", f"{measured['workerId']}: {clocks['how']}"],
    ]
    write_one({**measured, "name": f"{stream['p50Ms']:.1f} ms"}, options.output, "name", table(rows))


def _milliseconds(value: float | None, otherwise: str) -> str:
    return otherwise if value is None else f"{value:.1f} ms from one replica to itself, through Postgres"


def _agents(options: ServerOptions) -> int:
    """Show which AI agents can start here; it is a failure when none can."""
    findings = local_runs.findings()
    checks = [
        Check(agent["name"], agent["ok"], agent["message"] or agent["version"], agent["fix"] or "")
        for agent in findings
    ]
    rows = [line for check in checks for line in _rows(check)]
    any_can_start = any(check.ok for check in checks)
    write_items({"items": findings, "ok": any_can_start}, options.output, "name", rows, _with_colour)
    return exits.SUCCESS if any_can_start else exits.FAILED


def _rows(check: Check) -> list[list[str]]:
    row = ["✓" if check.ok else "✗", check.name, check.message]
    return [row] if check.ok else [row, [" ", "", f"fix: {as_typed(check.fix)}"]]


def _with_colour(line: str) -> str:
    """Return a line with its mark in colour."""
    colour = {"✓": 32, "✗": 31}.get(line[:1])
    return f"\x1b[{colour}m{line[0]}\x1b[0m{line[1:]}" if colour and colours() else line


def _check_replica(url: str, trust: Trust) -> list[Check]:
    try:
        alive, seconds = page(url, "/healthz", trust)
        # The replica has read its clock about half of the answer's time ago.
        skew = (datetime.fromisoformat(alive["time"]) - datetime.now(UTC)).total_seconds() + seconds / 2
        ready, _ = page(url, "/readyz", trust)
        problems = {str(part): str(problem) for part, problem in ready["problems"].items()}
        database_offset = _seconds_between(ready.get("time"), ready.get("databaseTime"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        step = "check the address (ado context list, ADO_URL), or start one here: ado up --detach"
        return [Check("api", False, f"{url} does not answer as ado does: {untrusted(error) or error}", step)]
    checks = [Check("api", True, f"{url} answers in {seconds * 1000:.0f} ms")]
    checks.append(_clock("clock", skew, "this machine and the replica"))
    for part, fine in (("process", "serves"), ("database", "answers"), ("schema", "fits"), ("listener", "listens")):
        if part in problems or part != "process":
            problem = problems.get(part, "")
            checks.append(Check(part, part not in problems, problem or fine, _FIXES.get(problem) or _FIXES[part]))
    if locked := (ready.get("warnings") or {}).get("locks"):
        checks.append(Check("locks", False, str(locked), _LOCKS_FIX))
    if database_offset is not None:
        checks.append(_clock("database clock", database_offset, "the replica and the database"))
        hears = bool(ready.get("hearsNotifications"))
        checks.append(
            Check(
                "notifications",
                hears,
                "arrive" if hears else "do not arrive: everything works, up to a second late",
                "a pooler in transaction mode stands between: set ADO_LISTEN_DSN of the replicas to Postgres itself",
            )
        )
    return checks


def _seconds_between(ours: str | None, theirs: str | None) -> float | None:
    if ours is None or theirs is None:
        return None
    return (datetime.fromisoformat(theirs) - datetime.fromisoformat(ours)).total_seconds()


def _clock(name: str, skew: float, between: str) -> Check:
    message = f"{abs(skew):.1f} s between {between}"
    return Check(name, abs(skew) < _SKEW_SECONDS, message, "let NTP set both clocks; leases only use the database's")


def _check_calls(server: ServerContext) -> list[Check]:
    client, checks = client_of(server), list[Check]()
    try:
        checks = _locks(client)  # first, because a locked table keeps the next query from an answer
        status = workers_status(client_of(server, timeout=_LOCKED_SECONDS) if checks else client)
    except CallError as error:
        return [*checks, Check("token", False, error.message, error.hint or "make another token: ado token create")]
    except NoAnswer:
        return _without_status(client, checks)
    live = [worker for worker in status["workers"] if worker["state"] in _LIVE]
    counts = ", ".join(f"{count} {state}" for state, count in sorted(status["counts"].items())) or "none"
    names = {name for worker in live for name in worker["capabilities"]}
    offered = sorted(name for name in names if not name.startswith(HIDDEN))
    return [
        Check("token", True, "is accepted"),
        *checks,
        _workers(counts, bool(live), status),
        Check("agents", True, ", ".join(offered) if offered else "none is offered at the moment"),
        *(Check("agent", False, one["why"], remedy(one)) for one in status.get("unhealthyAgents", [])),
        *_sandboxes(live),
        *_unoffered_secrets(live),
        *_spawners(status.get("spawners", [])),
    ]


def _locks(client: Any) -> list[Check]:
    return [Check(one.name, False, one.message, one.fix) for one in locks(client.query("system.health"))]


def _without_status(client: Any, checks: list[Check]) -> list[Check]:
    """Return the check of a lock that hides the workers; a server that does not answer has a failed check already."""
    try:
        held = checks or _locks(client)  # the server reports it once other sessions have waited for it
    except (CallError, NoAnswer):
        return []
    return [*held, *(Check("workers", False, "cannot be read while the lock is held", one.fix) for one in held[:1])]


def _workers(counts: str, is_live: bool, status: Any) -> Check:
    queued = status["queue"]["queued"]
    spawners = status.get("spawners")  # a server of an older release names none
    is_expected = spawners is None or any(spawner["state"] == "running" for spawner in spawners)
    if is_live:
        message = counts
    elif queued:
        message = f"{counts}; {queued} jobs wait"
    else:
        message = f"{counts}; a spawner starts them" if is_expected else f"{counts}, and no spawner runs"
    fix = "start one with ado worker, or a spawner with ado spawner"
    return Check("workers", is_live or (is_expected and not queued), message, fix)


def _spawners(spawners: list[Any]) -> list[Check]:
    return [
        Check("spawner", not problem, f"{spawner['spawnerId']} {problem or 'runs'}", SPAWNER_FIX)
        for spawner in spawners
        for problem in (spawner_problem(spawner),)
    ]


def _sandboxes(live: list[Any]) -> list[Check]:
    """Say which sandboxes the workers have, and why one has none."""
    labels = [(worker["workerId"], worker.get("labels") or {}) for worker in live]
    counts = Counter(names["sandbox"] for _, names in labels if "sandbox" in names)
    sandboxed = [Check("sandbox", True, ", ".join(f"{name} on {count}" for name, count in sorted(counts.items())))]
    plain = [
        Check(
            "sandbox", True, f"{worker}: jobs run as plain processes; {names.get('sandbox-why', 'as its settings say')}"
        )
        for worker, names in labels
        if names.get("sandbox") == "none"
    ]
    return [*(sandboxed if counts else []), *plain]


def _unoffered_secrets(live: list[Any]) -> list[Check]:
    """Name the secrets that workers hold and that their list of capabilities leaves out."""
    return [
        Check("secrets", True, f"{worker['workerId']} holds {names} and does not offer it: its capabilities are listed")
        for worker in live
        if (names := (worker.get("labels") or {}).get("not-offered"))
    ]
