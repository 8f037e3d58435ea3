"""The capabilities of a worker: those that its settings name, or everything that this machine can do.

An AI agent is a capability only if it can start. Naming an agent that cannot start, or a secret that the worker does
not have, is an error. If ``ADO_OPTIONAL_CAPABILITIES`` names it too, it is dropped instead: the worker offers the rest,
and a label ``dropped/NAME`` says why. A label ``agent/NAME`` vouches for an agent, so it is not checked: a spawner or
the build of an image has checked it before.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from app.core.capabilities import NO_NETWORK
from worker.agents import AGENTS
from worker.preflight import AgentCheck, check_agents
from worker.sandbox.base import NO_SANDBOX, Sandbox
from worker.secret_store import PREFIX, SecretStore
from worker.settings import GIT_HOST, WorkerSettings

OWN = tuple(name for name, agent in AGENTS.items() if agent.needs is None)
"""Agents that are part of ado."""
_LABEL = "agent/"
_UNNAMED = "not-offered"
"""The label for secrets that a worker has but does not offer, because its list of capabilities lacks them."""
_DROPPED = "dropped/"
_log = logging.getLogger("ado.worker")


class CannotStart(Exception):
    """A worker cannot start with its settings on this machine; ``next_step`` says what helps."""

    def __init__(self, message: str, next_step: str) -> None:
        super().__init__(message)
        self.next_step = next_step


@dataclass(frozen=True, slots=True)
class WorkerCapabilities:
    """The capabilities and labels that a worker registers with."""

    capabilities: tuple[str, ...]
    labels: Mapping[str, str]


def detect(secret_store: SecretStore, sandbox: Sandbox = NO_SANDBOX) -> WorkerCapabilities:
    """Return what this machine can do: ado's agents, AI agents that can start, secrets, the sandbox's capabilities.

    The versions of AI agents are labels.
    """
    checks = [check for check in check_agents(AGENTS, AGENTS) if not check.problem]
    capabilities = (*(check.agent for check in checks), *secret_store.capabilities, *sandbox.capabilities)
    return WorkerCapabilities(capabilities, version_labels(checks))


def version_labels(checks: list[AgentCheck]) -> dict[str, str]:
    """Return the labels with the versions of agents."""
    return {f"{_LABEL}{check.agent}": check.version for check in checks if check.version}


def worker_capabilities(
    settings: WorkerSettings, secret_store: SecretStore, sandbox: Sandbox = NO_SANDBOX
) -> WorkerCapabilities:
    """Return the capabilities and labels of a worker with these settings. Raises CannotStart."""
    labels = dict(entry.partition("=")[::2] for entry in settings.labels)
    hosts = tuple(GIT_HOST + host for host in settings.git_hosts)
    if not settings.capabilities:
        detected = detect(secret_store, sandbox)
        return WorkerCapabilities((*detected.capabilities, *hosts), {**detected.labels, **labels})
    vouched = {name.removeprefix(_LABEL) for name in labels if name.startswith(_LABEL)}
    checks = check_agents(AGENTS, [name for name in settings.capabilities if name not in vouched])
    dropped = {}
    for name, error in _missing(settings.capabilities, checks, secret_store, sandbox):
        if name not in settings.optional_capabilities:
            raise error
        _log.warning("capability dropped", extra={"capability": name, "detail": str(error), "next": error.next_step})
        dropped[name] = f"{error} ({error.next_step})"
    offered = (name for name in (*settings.capabilities, *hosts, *sandbox.capabilities) if name not in dropped)
    labels |= {_DROPPED + name: why for name, why in dropped.items()}
    if unnamed := [name for name in secret_store.capabilities if name not in settings.capabilities]:
        labels[_UNNAMED] = ", ".join(unnamed)
    return WorkerCapabilities(tuple(dict.fromkeys(offered)), {**version_labels(checks), **labels})


def _missing(
    wanted: Sequence[str], checks: Sequence[AgentCheck], secret_store: SecretStore, sandbox: Sandbox
) -> Iterator[tuple[str, CannotStart]]:
    """Yield each capability that a worker cannot offer, with the reason."""
    for check in checks:
        if check.problem:
            yield check.agent, CannotStart(f"{check.agent} cannot start here: {check.problem}", check.fix)
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
