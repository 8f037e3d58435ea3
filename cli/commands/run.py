"""``ado run``."""

from __future__ import annotations

import shlex
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from app.rpc.client import HttpClient
from cli import exits, local_runs
from cli.agents import PROGRAMS, STDIN, agents_of, is_ai, preferred, reads_prompt
from cli.bell import ring
from cli.commands.watch import watch
from cli.control_plane import embedded
from cli.declarations import Parameter
from cli.errors import usage
from cli.option_values import optional_seconds, pairs
from cli.output import talk, write_one
from cli.parameters import Notify
from cli.remote.connection import NO_OPTIONS, ServerOptions, choose, http, need_server
from cli.remote.contexts import ServerContext
from cli.remote.fleet import check_offered, default_agent
from cli.remote.follow import View
from cli.remote.listing import workers_status
from cli.remote.predecessors import check_waits
from cli.remote.retry import until_answered
from cli.remote.saved_templates import filled, merged, template_named
from cli.remote.standard_input import appended, check_taken, is_wanted
from cli.render.terminal import colour_variables
from cli.run_options import (
    AgentOptions,
    BudgetOptions,
    CheckOptions,
    LimitOptions,
    PodOptions,
    PromptOptions,
    RepositoryOptions,
    TaskOptions,
    refuse_remote_only,
)
from cli.sent_repository import SentRepository, find, send

if TYPE_CHECKING:
    from cli.project_file import Project

_EXAMPLE = 'example: ado run "fix the failing test"'
_GROUPS = ("agent", "checks", "limits", "budget", "task", "repository", "pod")
"""The options for which a project's file may have defaults."""
_PROMPT_HELP = """What the agent is asked to do; - reads it from stdin. For the agent shell one argument is a command
line, and several are a command with its arguments, kept apart: write them after --."""


@dataclass(frozen=True, slots=True)
class _Request:
    """What the command line asks for; ``words`` are the prompt."""

    words: Sequence[str]
    workers: int
    prompt: PromptOptions
    agent: AgentOptions
    checks: CheckOptions
    limits: LimitOptions
    budget: BudgetOptions
    task: TaskOptions
    repository: RepositoryOptions
    pod: PodOptions
    options: ServerOptions
    notify: bool

    def text(self, agent: str) -> str:
        """Return the prompt for an agent; the prompt of an AI agent ends with stdin if that is asked for."""
        is_command = agent == "shell" and len(self.words) > 1
        text = shlex.join(self.words) if is_command else " ".join(self.words)
        return appended(text) if self.prompt.stdin and agent not in PROGRAMS else text

    def of_template(self, saved: Mapping[str, Any]) -> _Request:
        """Return the request with a template's prompt, and its agents and number of jobs unless others are named."""
        agents = self.agent.agent or saved.get("agents") or [saved["agent"]]
        workers = self.workers if self.workers != 1 else saved.get("workers", 1)
        return replace(self, words=[saved["prompt"]], workers=workers, agent=replace(self.agent, agent=agents))

    def filled(self, project: Project, groups: Sequence[str]) -> _Request:
        """Return the request with a project's defaults for what the command line does not say, and show them."""
        filled = {name: project.fill(getattr(self, name)) for name in groups}
        project.show()
        return replace(self, **filled)

    def sends_stdin(self, agent: str, *, detach: bool) -> bool:
        """Whether the job reads this command's stdin. Raises CliError."""
        is_prompt = self.prompt.file == "-"
        return is_wanted(self.prompt.stdin, agent, jobs=self.workers, detach=detach, is_prompt=is_prompt)


def run(
    *prompt: Annotated[str, Parameter(help=_PROMPT_HELP)],
    remote: bool = False,
    workers: int = 1,
    notify: Notify = False,
    prompt_options: PromptOptions = PromptOptions(),
    agent_options: AgentOptions = AgentOptions(),
    checks: CheckOptions = CheckOptions(),
    limits: LimitOptions = LimitOptions(),
    budget: BudgetOptions = BudgetOptions(),
    task_options: TaskOptions = TaskOptions(),
    repository: RepositoryOptions = RepositoryOptions(),
    pod: PodOptions = PodOptions(),
    options: ServerOptions = NO_OPTIONS,
) -> int:
    """Run a prompt here, or with --remote on workers.

    Parameters
    ----------
    remote
        Run on workers, through a server.
    workers
        How many jobs the task has.
    """
    template = None if prompt_options.file else template_named(prompt)
    if remote or template:
        need_server(options)
    if prompt_options.var and not template:
        raise usage("--var needs a template", "name it in place of the prompt: ado run @NAME --var issue=7")
    words = _words(prompt, prompt_options.file)
    request = _Request(
        words, workers, prompt_options, agent_options, checks, limits, budget, task_options, repository, pod, options,
        notify,
    )  # fmt: skip
    return _run_remotely(request, template) if remote or template else _run_here(request)


def _run_here(request: _Request) -> int:
    """Run the prompt on this machine, without a server. Raises CliError."""
    if request.agent.trust_project:
        raise usage("--trust-project needs --remote: here the agent decides by your own settings", "leave it out")
    if request.agent.approve:
        raise usage("--approve needs --remote: here the agent decides by your own settings", "leave it out")
    failure = replace(request.limits, timeout=None)  # a time-out ends an agent here as well
    sending = replace(request.repository, no_project_file=False)
    refuse_remote_only(request.budget, request.task, sending, request.pod, request.options, failure)
    if not request.repository.no_project_file:
        from cli.project_file import local_project

        if project := local_project():
            request = request.filled(project, ("agent", "checks", "limits"))
    environment, timeout = request.agent.environment(), optional_seconds(request.limits.timeout)
    if len(request.agent.agent or ()) > 1:
        raise usage("several agents need --remote", "add --remote, or name one agent")
    (agent,) = request.agent.agent or [preferred([], [*local_runs.own_agents(), *local_runs.agents()])]
    stdin = request.sends_stdin(agent, detach=False)
    code = local_runs.run(
        request.text(agent),
        agent,
        stdin=stdin,
        workers=request.workers,
        env=environment,
        args=request.agent.arguments(),
        timeout=timeout,
        checks=request.checks.members().get("checks", {}),
        own_lines=request.agent.raw_events,
    )
    if request.notify:
        ring(f"the run here has ended: exit code {code}")
    return code


def _run_remotely(request: _Request, template: str | None) -> int:
    """Create a task, and show it until it ends unless it is detached. Raises CliError.

    A template gives what the command line does not; the project's file has no defaults for it.
    """
    if request.notify and request.task.detach:
        raise usage("with --detach nobody stays for --notify", "leave one out; later: ado wait TASK --notify")
    server = choose(request.options, start=True)
    client = http(server)
    saved = filled(client, template, pairs(request.prompt.var, "--var")) if template else {}
    if saved:
        request = request.of_template(saved)
    local = find(request.repository, request.agent.agent or [server.agent])
    if local and not saved and not request.repository.no_project_file:
        from cli.project_file import project_of

        if project := project_of(local):
            request = request.filled(project, _GROUPS)
    environment, timeout = request.agent.environment(), optional_seconds(request.limits.timeout)
    agents = _agents(request, client, server)
    stdin = request.sends_stdin(reads_prompt(agents), detach=request.task.detach)
    text = request.text(reads_prompt(agents))
    repository = send(client, request.repository, agents, local)
    if not request.task.detach and not is_ai(agents):
        environment = {**colour_variables(), **environment}
    given = {
        **_task_input(request, repository, stdin=stdin),
        "prompt": text,
        "agent": agents[0],
        **({"agents": agents} if len(agents) > 1 else {}),
        "env": environment,
        "timeoutSeconds": timeout,
    }
    value = merged(saved, given) if saved else given
    task: dict[str, Any] = until_answered(lambda: client.mutate("tasks.create", value))
    repository.keep(task["taskId"])
    check_waits(client, task, value)
    if stdin:
        check_taken(client, task)
    if request.task.detach:
        _report_created(client, task, request.options)
        return exits.SUCCESS
    if request.options.output == "text":
        jobs = "1 job" if task["workers"] == 1 else f"{task['workers']} jobs"
        names = agents_of(task)
        talk(f"ado: {task['taskId']} ({jobs}, {'agent' if len(names) == 1 else 'agents'} {', '.join(names)})")
    view = View(task["taskId"], task["workers"], own_lines=request.agent.raw_events, stdin=stdin,
                notify=request.notify)  # fmt: skip
    return watch(server, view, request.options, client)


def _task_input(request: _Request, repository: SentRepository, *, stdin: bool) -> dict[str, Any]:
    """Return what tasks.create takes besides the prompt and its agent. Raises CliError.

    The idempotency key lets the call be sent again until it is answered.
    """
    stdin_capability = [STDIN] if stdin else []  # a server of an older release finds such a worker by it alone
    return {
        "workers": request.workers,
        "requires": [*request.task.requires(), *repository.requires, *stdin_capability],
        "workspace": repository.workspace,
        "agentArgs": request.agent.arguments() or None,
        "onFailure": "fail_fast" if request.limits.fail_fast else "continue",
        "idempotencyKey": str(uuid.uuid4()),
        **request.task.members(),
        **request.checks.members(),
        **request.budget.members(),
        **request.pod.members(),
        **({"trustProject": True} if request.agent.trust_project else {}),
        **({"approve": request.agent.approve} if request.agent.approve else {}),
        **({"stdin": True} if stdin else {}),
    }


def _words(prompt: Sequence[str], file: str | None) -> Sequence[str]:
    """Return the words of the prompt; one from a file is a single word. Raises CliError."""
    if bool(prompt) == (file is not None):
        raise usage("give the prompt either as an argument or with -F", _EXAMPLE)
    words = [read_prompt(file)] if file is not None else prompt
    if not any(word.strip() for word in words):
        raise usage("the prompt is empty", _EXAMPLE)
    return words


def read_prompt(file: str) -> str:
    """Return the prompt in a file; - is stdin. Raises CliError."""
    try:  # as bytes: reading text changes carriage returns
        return (sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()).decode()
    except (OSError, ValueError) as error:
        raise usage(f"the prompt cannot be read: {error}", "check -F; the prompt is UTF-8 text") from error


def _agents(request: _Request, client: HttpClient, server: ServerContext) -> list[str]:
    """Return the agents of the option, or that of the server's context, or the first AI agent on offer.

    Raises CliError.
    """
    running = embedded.find()
    is_embedded = running is not None and set(server.urls) <= set(running.urls)
    if agents := request.agent.agent:
        if len(agents) > max(request.workers, 1):  # the server refuses a task without jobs
            jobs = "1 job" if request.workers == 1 else f"{request.workers} jobs"
            raise usage(f"{len(agents)} agents are named for {jobs}", f"add --workers {len(agents)}, or name fewer")
        if not request.task.wait_for_agent:
            status, installed = _workers(client), local_runs.agents() if is_embedded else ()
            for agent in agents:
                check_offered(agent, status, installed)
        return agents
    return [server.agent or default_agent(_workers(client), local_runs.offered()[0] if is_embedded else ())]


def _workers(client: HttpClient) -> dict[str, Any]:
    """Return the workers; the call is repeated for as long as the one that creates the task."""
    return until_answered(lambda: workers_status(client))


def _report_created(client: HttpClient, task: dict[str, Any], options: ServerOptions) -> None:
    name = task["taskId"]
    write_one(task, options.output, "taskId", [name], note=f"watch it with: ado attach {name}")
    if options.output == "text":
        wait = client.query("tasks.get", {"taskId": name, "explain": True}).get("wait")
        if wait and wait.get("reason") in ("capability", "waits_for_task"):
            talk(f"ado: it waits: {wait['why']}")
    client.close()
