"""Which agents can start on this machine: the program is on PATH and prints its version, and it has credentials."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from app.core.programs import search_path
from worker.agents.base import Agent, Needs

_VERSION_SECONDS = 30.0
_VERSION = re.compile(r"\d+\.\d+\S*")


@dataclass(frozen=True, slots=True)
class AgentCheck:
    """The result for one agent; ``problem`` is empty if it can start, and ``fix`` says what helps."""

    agent: str
    version: str = ""
    problem: str = ""
    fix: str = ""


def check_agents(agents: Mapping[str, Agent], names: Iterable[str]) -> list[AgentCheck]:
    """Check agents side by side. Agents that are part of ado can always start."""
    wanted = [name for name in names if name in agents]
    with ThreadPoolExecutor(max_workers=max(1, len(wanted))) as pool:
        return list(pool.map(lambda name: _check(name, agents[name].needs), wanted))


def _check(name: str, needs: Needs | None) -> AgentCheck:
    if needs is None:
        return AgentCheck(name)
    program = shutil.which(needs.program, path=search_path())
    if program is None:
        return AgentCheck(name, "", f"{needs.program} is not on PATH", needs.install)
    version, problem = _version(program)
    if problem:
        return AgentCheck(name, "", problem, needs.install)
    if not _has_credentials(needs):
        return AgentCheck(name, version, "it has no credentials", needs.sign_in)
    return AgentCheck(name, version)


def _version(program: str) -> tuple[str, str]:
    """Return a program's version and its problem."""
    try:
        try:
            done = _ask(program)
        except subprocess.TimeoutExpired:  # a first start reads a cold disk; the second one has the files in memory
            done = _ask(program)
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", f"{program} --version did not answer: {error}"
    match = _VERSION.search(done.stdout)
    if done.returncode or match is None:
        return "", f"{program} --version ended with {done.returncode}: {(done.stderr or done.stdout).strip()[:200]}"
    return match[0], ""


def _ask(program: str) -> subprocess.CompletedProcess[str]:
    """Run ``--version`` with an empty HOME and without the machine's environment."""
    with tempfile.TemporaryDirectory() as home:
        env = {"HOME": home, "PATH": search_path(), "DISABLE_AUTOUPDATER": "1"}
        return subprocess.run(
            [program, "--version"], env=env, cwd=home, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=_VERSION_SECONDS, check=False,
        )  # fmt: skip


def _has_credentials(needs: Needs) -> bool:
    if not needs.variables and not needs.files:
        return True
    variables = any(os.environ.get(name) for name in (*needs.variables, *needs.elsewhere))
    return variables or any((Path.home() / file).is_file() for file in needs.files)
