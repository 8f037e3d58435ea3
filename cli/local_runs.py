"""Agents on this machine: running one without a server, and checking which of them can start."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from cli.errors import usage
from cli.extras import need
from cli.output import write_pieces
from cli.render.lines import Lines, Style
from cli.render.terminal import colours, columns, is_dumb, terminals


def run(
    prompt: str,
    agent: str,
    *,
    workers: int,
    env: Mapping[str, str],
    args: Mapping[str, Any],
    timeout: float | None,
    checks: Mapping[str, Any],
    own_lines: bool,
    stdin: bool = False,
) -> int:
    """Run an agent here, with the user's own directory and environment; return the exit code. Raises CliError.

    ``checks`` are the setup and the checks as ``tasks.create`` takes them.
    """
    import msgspec

    from app.shapes.checks import Checks
    from worker.agents import AGENTS
    from worker.agents.acp import AcpAgent
    from worker.local_run import run as run_local

    if isinstance(AGENTS.get(agent), AcpAgent):
        need("worker")

    coloured = colours(sys.stdout) or colours(sys.stderr)
    try:
        wish = msgspec.to_builtins(msgspec.convert(checks, Checks))
    except msgspec.ValidationError as error:
        raise usage(f"setup and checks: {error}", "see ado run --help") from error
    lines = Lines(Style(workers > 1, terminals(), coloured, own=own_lines, columns=columns, dumb=is_dumb()))
    code = run_local(
        prompt, agent, workers=workers, env=env, args=args, timeout=timeout, checks=wish, stdin=stdin,
        show=lambda event: write_pieces(lines.feed(event)),
    )  # fmt: skip
    write_pieces(lines.rest())
    return code


def agents() -> Iterator[str]:
    """Yield the AI agents whose programs are installed here, even if they cannot start."""
    from app.core.programs import search_path
    from worker.agents import AGENTS

    for name, agent in AGENTS.items():
        if agent.needs and shutil.which(agent.needs.program, path=search_path()):
            yield name


def own_agents() -> tuple[str, ...]:
    """Return the agents that are part of ado itself."""
    from worker.capabilities import OWN

    return OWN


def offered() -> tuple[tuple[str, ...], Mapping[str, str]]:
    """Return what a worker here would offer, and the labels with the versions of its agents."""
    from app.core.settings import read
    from worker import secret_store
    from worker.capabilities import detect
    from worker.sandbox.choice import choose
    from worker.settings import WorkerSettings

    settings = read(WorkerSettings)
    detected = detect(secret_store.read(settings), choose(settings))
    return detected.capabilities, detected.labels


def with_sandbox(capabilities: tuple[str, ...]) -> tuple[str, ...]:
    """Return capabilities with those that a worker's sandbox adds here."""
    from app.core.settings import read
    from worker.sandbox.choice import choose
    from worker.settings import WorkerSettings

    return (*capabilities, *choose(read(WorkerSettings)).capabilities)


def findings() -> list[dict[str, Any]]:
    """Return, for every AI agent, whether it can start here and what would help."""
    from worker.agents import AGENTS
    from worker.preflight import check_agents

    known = [name for name, agent in AGENTS.items() if agent.needs]
    return [
        {"name": check.agent, "ok": not check.problem, "version": check.version, "message": check.problem,
         "fix": check.fix or None}
        for check in check_agents(AGENTS, known)
    ]  # fmt: skip
