"""What a worker offers: what it was told to, or what is there.

An AI agent is offered only if it can start. Asked for by name, one that cannot is an error; a label ``agent/NAME``
vouches for it, so that whoever has looked already (a spawner, an image) need not have it done again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from worker.agents import AGENTS
from worker.preflight import Finding, look
from worker.settings import WorkerSettings

OWN = tuple(name for name, agent in AGENTS.items() if agent.needs is None)
"""Agents that are part of ado."""
_LABEL = "agent/"


class Unfit(Exception):
    """A worker was told to offer what cannot start; ``next_step`` says what helps."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(f"{finding.agent} cannot start here: {finding.problem}")
        self.next_step = finding.fix


@dataclass(frozen=True, slots=True)
class WorkerOffer:
    """The capabilities and labels that a worker registers with."""

    capabilities: tuple[str, ...]
    labels: Mapping[str, str]


def found() -> WorkerOffer:
    """Return what is there: ado's own agents and every AI agent that can start, with the versions as labels."""
    fit = [finding for finding in look(AGENTS, AGENTS) if not finding.problem]
    return WorkerOffer(tuple(finding.agent for finding in fit), versions(fit))


def versions(findings: list[Finding]) -> dict[str, str]:
    """Return the labels that tell the versions of agents."""
    return {f"{_LABEL}{finding.agent}": finding.version for finding in findings if finding.version}


def offer(settings: WorkerSettings) -> WorkerOffer:
    """Return what a worker offers. Raises Unfit."""
    labels = dict(entry.partition("=")[::2] for entry in settings.labels)
    if not settings.capabilities:
        there = found()
        return WorkerOffer(there.capabilities, {**there.labels, **labels})
    vouched = {name.removeprefix(_LABEL) for name in labels if name.startswith(_LABEL)}
    findings = look(AGENTS, [name for name in settings.capabilities if name not in vouched])
    for finding in findings:
        if finding.problem:
            raise Unfit(finding)
    return WorkerOffer(settings.capabilities, {**versions(findings), **labels})
