"""What a worker offers: exactly what it was told to, or what is there.

An AI agent is offered only if it can start. Asked for by name, one that cannot is an error, as is a secret that is not
held. One that ``ADO_OPTIONAL_CAPABILITIES`` names too is dropped instead: the worker serves what else it offers, and a
label ``dropped/NAME`` says why. A label ``agent/NAME`` vouches for an agent, so that whoever has looked already (a
spawner, an image) need not have it done again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from app.core.capabilities import NO_NETWORK
from worker.agents import AGENTS
from worker.preflight import AgentCheck, look
from worker.sandbox.base import NO_SANDBOX, Sandbox
from worker.secret_store import PREFIX, SecretStore
from worker.settings import GIT_HOST, WorkerSettings

OWN = tuple(name for name, agent in AGENTS.items() if agent.needs is None)
"""Agents that are part of ado."""
_LABEL = "agent/"
_UNNAMED = "not-offered"
"""The label of secrets that a worker holds and that its list of capabilities does not name."""
_DROPPED = "dropped/"
_log = logging.getLogger("ado.worker")


class CannotStart(Exception):
    """A worker was told to offer what is not there; ``next_step`` says what helps."""

    def __init__(self, message: str, next_step: str) -> None:
        super().__init__(message)
        self.next_step = next_step


@dataclass(frozen=True, slots=True)
class WorkerCapabilities:
    """The capabilities and labels that a worker registers with."""

    capabilities: tuple[str, ...]
    labels: Mapping[str, str]


def found(secret_store: SecretStore, sandbox: Sandbox = NO_SANDBOX) -> WorkerCapabilities:
    """Return what is there: ado's own agents, every AI agent that can start with its version as a label, secrets.

    A sandbox adds what it can do.
    """
    fit = [finding for finding in look(AGENTS, AGENTS) if not finding.problem]
    capabilities = (*(finding.agent for finding in fit), *secret_store.capabilities, *sandbox.capabilities)
    return WorkerCapabilities(capabilities, versions(fit))


def versions(findings: list[AgentCheck]) -> dict[str, str]:
    """Return the labels that tell the versions of agents."""
    return {f"{_LABEL}{finding.agent}": finding.version for finding in findings if finding.version}


def offer(settings: WorkerSettings, secret_store: SecretStore, sandbox: Sandbox = NO_SANDBOX) -> WorkerCapabilities:
    """Return what a worker offers. Raises CannotStart."""
    labels = dict(entry.partition("=")[::2] for entry in settings.labels)
    hosts = tuple(GIT_HOST + host for host in settings.git_hosts)
    if not settings.capabilities:
        there = found(secret_store, sandbox)
        return WorkerCapabilities((*there.capabilities, *hosts), {**there.labels, **labels})
    vouched = {name.removeprefix(_LABEL) for name in labels if name.startswith(_LABEL)}
    findings = look(AGENTS, [name for name in settings.capabilities if name not in vouched])
    dropped = {}
    for name, error in _lacking(settings.capabilities, findings, secret_store, sandbox):
        if name not in settings.optional_capabilities:
            raise error
        _log.warning("capability dropped", extra={"capability": name, "detail": str(error), "next": error.next_step})
        dropped[name] = f"{error} ({error.next_step})"
    kept = (name for name in (*settings.capabilities, *hosts, *sandbox.capabilities) if name not in dropped)
    labels |= {_DROPPED + name: why for name, why in dropped.items()}
    if unnamed := [name for name in secret_store.capabilities if name not in settings.capabilities]:
        labels[_UNNAMED] = ", ".join(unnamed)
    return WorkerCapabilities(tuple(dict.fromkeys(kept)), {**versions(findings), **labels})


def _lacking(
    wanted: Sequence[str], findings: Sequence[AgentCheck], secret_store: SecretStore, sandbox: Sandbox
) -> Iterator[tuple[str, CannotStart]]:
    """Yield what a worker cannot offer, with the reason."""
    for finding in findings:
        if finding.problem:
            yield finding.agent, CannotStart(f"{finding.agent} cannot start here: {finding.problem}", finding.fix)
    for name in wanted:
        if name.startswith(PREFIX) and name not in secret_store.capabilities:
            step = "name it in ADO_SECRETS, or put its file into ADO_SECRETS_DIR"
            if why := secret_store.why_not(name):
                yield (
                    name,
                    CannotStart(f"{name} cannot be offered: {why}", "store it as a shorter text, such as base64"),
                )
            else:
                yield name, CannotStart(f"{name} is not held here", step)
    if NO_NETWORK in wanted and NO_NETWORK not in sandbox.capabilities:
        message = f"{NO_NETWORK} cannot be offered: the sandbox {sandbox.name} takes no network away"
        yield NO_NETWORK, CannotStart(message, "install bubblewrap and set ADO_SANDBOX=bubblewrap, or do not offer it")
