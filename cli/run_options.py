"""The options of ``ado run``, in the groups that its help shows."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from cli.declarations import Group, Parameter
from cli.errors import usage
from cli.option_values import amount_of, bytes_of, optional_seconds, pair, pairs
from cli.parameters import RawEvents
from cli.remote.connection import task_id

_PROMPT, _AGENT, _START, _CHECKS, _FAILURE, _REPOSITORY, _RESOURCES = (
    Group(title, sort_key=number)
    for number, title in enumerate(
        ("Prompt", "Agent", "Where and when jobs start", "Checks", "Limits and failures", "Repository", "Resources")
    )
)


@Parameter(name="*", group=_PROMPT)
@dataclass(frozen=True, slots=True)
class PromptOptions:
    """Where the prompt comes from, and what is piped in."""

    file: Annotated[str | None, Parameter(name=["--file", "-F"])] = None
    "Read the prompt from a file; - is stdin."
    stdin: Annotated[bool | None, Parameter(name=["--stdin", "-i"], negative="--no-stdin")] = None
    """Send stdin to the agent shell, or append it to the prompt of an AI agent. The agent shell gets what is piped
    in also without this option."""
    var: Annotated[list[str] | None, Parameter(negative=())] = None
    "NAME=VALUE for a variable of the template that the prompt names: ado run @NAME; may be used several times."


@Parameter(name="*", group=_AGENT)
@dataclass(frozen=True, slots=True)
class AgentOptions:
    """Who runs the prompt, and with what."""

    agent: Annotated[list[str] | None, Parameter(negative=())] = None
    """Who runs the prompt: an AI agent, or shell. Given several times, the jobs get these agents in turn, and ado
    compare shows what each made of it."""
    model: str | None = None
    "The model that the AI agent uses."
    env: list[str] | None = None
    "NAME=VALUE for the agent's environment, or NAME to take the value from here."
    trust_project: bool = False
    "Use the repository's own settings for the agent: hooks, MCP servers, plugins, permissions."
    approve: Literal["ask", "edits", "all", "none"] | None = None
    """What an AI agent may do without asking you: nothing that needs permission, edit files, everything, or only read
    and plan. Without this option all on isolated workers, and edits on others."""
    raw_events: RawEvents = False

    def environment(self) -> dict[str, str]:
        """Return the variables for the agent. Raises CliError."""
        return dict(_variable(entry) for entry in self.env or [])

    def arguments(self) -> dict[str, Any]:
        """Return the agent's own arguments."""
        return {"model": self.model} if self.model else {}


def _variable(entry: str) -> tuple[str, str]:
    if "=" in entry:
        return pair(entry, "--env")
    if entry not in os.environ:
        raise usage(f"--env {entry}: it is not set here", f"write --env {entry}=VALUE")
    try:
        os.environ[entry].encode()
    except UnicodeEncodeError as error:
        raise usage(f"--env {entry}: its value here is not UTF-8", f"write --env {entry}=VALUE") from error
    return entry, os.environ[entry]


@Parameter(name="*", group=_START)
@dataclass(frozen=True, slots=True)
class TaskOptions:
    """Options that only a task on a server has."""

    wait_for_agent: bool = False
    "Create the task even if no worker offers its agent yet."
    detach: Annotated[bool, Parameter(group="Parameters")] = False
    "Return as soon as the task exists."
    label: Annotated[list[str] | None, Parameter(group="Parameters")] = None
    "NAME=VALUE to find the task by."
    require: list[str] | None = None
    "A capability that the worker must offer."
    start_within: str | None = None
    "Fail a job that no worker has claimed within 1h, 10m, 30s."
    after: Annotated[list[str] | None, Parameter(negative=())] = None
    """Start when this task has succeeded; several separated by commas. If one fails or is cancelled, the new task is
    cancelled."""
    after_any_end: bool = False
    "Start when the tasks of --after have ended, however they ended."
    retries: Annotated[int | None, Parameter(group=_FAILURE)] = None
    "How often a job runs again after its agent failed."
    priority: int | None = None
    "Jobs of a larger priority are claimed first."
    secret: Annotated[list[str] | None, Parameter(group=_AGENT)] = None
    "A secret of the worker for the agent's environment; may be used several times."

    def members(self) -> dict[str, Any]:
        """Return members of the input of tasks.create. Raises CliError."""
        after = [task_id(name.strip()) for names in self.after or [] for name in names.split(",") if name.strip()]
        if self.after and not after:  # an empty variable of a script: the task would start at once
            raise usage("--after names no task", "example: --after task-3")
        if self.after_any_end and not after:
            raise usage("--after-any-end needs the tasks to wait for", "example: --after task-3 --after-any-end")
        return {
            **({"after": after, "afterAnyEnd": self.after_any_end} if after else {}),
            "labels": pairs(self.label, "--label"),
            "startWithinSeconds": optional_seconds(self.start_within),
            "retries": self.retries or 0,
            "priority": self.priority or 0,
        }

    def requires(self) -> list[str]:
        """Return the capabilities that the options ask for."""
        return [*(self.require or []), *(f"secret:{name}" for name in self.secret or [])]


@Parameter(name="*", group=_FAILURE)
@dataclass(frozen=True, slots=True)
class LimitOptions:
    """How long an attempt may take, and what a failure ends."""

    timeout: str | None = None
    "Longest time of one attempt: 2h, 10m, 30s."
    fail_fast: bool = False
    "Stop the other jobs when one fails."


@Parameter(name="*", group=_CHECKS)
@dataclass(frozen=True, slots=True)
class CheckOptions:
    """What decides whether the work is done."""

    check: Annotated[list[str] | None, Parameter(negative=())] = None
    """A command that must succeed after the agent's turn; may be used several times. If it fails, an AI agent gets
    the end of its output and goes on."""
    check_tries: int | None = None
    "How often an attempt may run the checks before it fails; without this option 3."
    check_timeout: str | None = None
    "Longest time of each check, and of the setup; without this option 10m."
    setup: str | None = None
    "A command that runs before the agent, in each attempt: npm ci."

    def members(self) -> dict[str, Any]:
        """Return members of the input of tasks.create. Raises CliError."""
        limits = {"tries": self.check_tries, "timeoutSeconds": optional_seconds(self.check_timeout)}
        if not self.check and not self.setup:
            if any(limits.values()):
                raise usage("--check-tries and --check-timeout need a command", "add --check CMD, or --setup CMD")
            return {}
        return {"checks": _without_none({"setup": self.setup, "commands": self.check or [], **limits})}


_MOST = 10**15


@Parameter(name="*", group=_FAILURE)
@dataclass(frozen=True, slots=True)
class BudgetOptions:
    """What each job may use."""

    max_cost: float | None = None
    "Most US dollars that each job may cost, over all of its attempts."
    max_tokens: int | None = None
    "Most tokens of each job: what the model reads, writes and caches anew."
    max_turns: int | None = None
    "Most turns of each job; a message or a failed check begins another one."
    on_budget: Literal["ask", "fail"] | None = None
    "Whether a person is asked at the limit, or the job fails; without this option ask."

    def members(self) -> dict[str, Any]:
        """Return members of the input of tasks.create. Raises CliError."""
        limits = {"--max-cost": self.max_cost, "--max-tokens": self.max_tokens, "--max-turns": self.max_turns}
        for option, limit in limits.items():
            if limit is not None and not 0 < limit <= _MOST:
                raise usage(f"{option} {limit}: it must be above 0 and at most 10^15", "leave it out for no limit")
        if all(limit is None for limit in limits.values()):
            if self.on_budget:
                raise usage("--on-budget needs a limit", "add --max-cost, --max-tokens or --max-turns")
            return {}
        members = {"costUsd": self.max_cost, "tokens": self.max_tokens, "turns": self.max_turns}
        return {"budget": _without_none({**members, "onBudget": self.on_budget})}


@Parameter(name="*", group=_REPOSITORY)
@dataclass(frozen=True, slots=True)
class RepositoryOptions:
    """What of the repository is sent with a task."""

    repo: bool | None = None
    "Send the git repository of this directory. Without either word it is sent for AI agents only."
    dirty: bool = False
    "Send uncommitted changes as well."
    push: bool = False
    "Let the worker push the branch to the repository's remote."
    bring: Annotated[list[str] | None, Parameter(negative=())] = None
    """Ignored files to send as well: a path or a pattern (config/*.json) from the repository's top; may be used several
    times. They do not come back."""
    caches: Annotated[list[str] | None, Parameter(name="--cache", negative=())] = None
    """A package manager whose cache the job gets, on workers that keep one: cargo, npm, pip, uv; may be used several
    times."""
    no_project_file: bool = False
    "Take no defaults from .ado.toml; see ado help project-file."


@Parameter(name="*", group=_RESOURCES)
@dataclass(frozen=True, slots=True)
class PodOptions:
    """What a job needs to run in."""

    cpu: float | None = None
    "Cores that each job needs."
    memory: str | None = None
    "Memory that each job needs: 512M, 4G; also 4Gi."
    gpu: float | None = None
    "GPUs that each job needs."
    image: str | None = None
    "Image of the pod, where the server allows it. It must have ado on its PATH."
    network: Literal["all", "none"] | None = None
    "With none a job has only the loopback network, on a worker that can do that; ado kv does not work then."
    node_selector: Annotated[list[str] | None, Parameter(negative=())] = None
    "NAME=VALUE that the pod's node must have as a label; may be used several times."

    def members(self) -> dict[str, Any]:
        """Return members of the input of tasks.create. Raises CliError."""
        needs = {
            "cpu": amount_of(self.cpu, "--cpu"),
            "memory": None if self.memory is None else bytes_of(self.memory),
            "gpu": amount_of(self.gpu, "--gpu"),
        }
        pod = {"image": self.image, "nodeSelector": pairs(self.node_selector, "--node-selector")}
        members: dict[str, Any] = {"resources": _without_none(needs)}
        if pod := {name: value for name, value in pod.items() if value}:
            members["pod"] = pod
        return members | _without_none({"network": self.network})


def _without_none(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def refuse_remote_only(*groups: Any) -> None:
    """Raise CliError that names each option which differs from its default: without a server it would do nothing."""
    names = [
        _option(field.name, value)
        for group in groups
        for field in fields(group)
        if (value := getattr(group, field.name)) != field.default
    ]
    if names:
        listed = f"{', '.join(names[:-1])} and {names[-1]} need" if len(names) > 1 else f"{names[0]} needs"
        raise usage(f"{listed} --remote", "add --remote")


def _option(name: str, value: Any) -> str:
    return f"--{'no-' if value is False else ''}{name.replace('_', '-')}"
