"""``ado template``: tasks to run again by a name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from app.core.prompt_variables import names
from cli.agents import is_ai
from cli.commands.run import read_prompt
from cli.declarations import App, Parameter
from cli.errors import usage
from cli.option_values import optional_seconds, pairs
from cli.output import talk, write_items, write_json, write_lines, write_one
from cli.remote.connection import NO_OPTIONS, ServerOptions, choose, http
from cli.remote.listing import whole
from cli.remote.saved_templates import named
from cli.render.ages import ago
from cli.run_options import AgentOptions, BudgetOptions, CheckOptions, LimitOptions, PodOptions

template = App(name="template", help="Save tasks as templates: ado run @NAME runs one.")
_EXAMPLE = 'ado template save fix --from task-3 "Fix issue {number}"'


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class _EachTaskOptions:
    """What each task of a template has."""

    label: Annotated[list[str] | None, Parameter(negative="")] = None
    "NAME=VALUE for each task."
    require: Annotated[list[str] | None, Parameter(negative="")] = None
    "A capability that the worker must offer."
    workers: int | None = None
    "How many jobs each task has."

    def members(self) -> dict[str, Any]:
        """Return members of the input of tasks.create. Raises CliError."""
        return {"labels": pairs(self.label, "--label"), "requires": self.require, "workers": self.workers}


@template.command
def save(
    name: str,
    prompt: str | None = None,
    /,
    *,
    from_: Annotated[str | None, Parameter(name="--from")] = None,
    file: Annotated[str | None, Parameter(name=["--file", "-F"])] = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    each_task: _EachTaskOptions = _EachTaskOptions(),
    agent_options: AgentOptions = AgentOptions(),
    checks: CheckOptions = CheckOptions(),
    limits: LimitOptions = LimitOptions(),
    budget: BudgetOptions = BudgetOptions(),
    pod: PodOptions = PodOptions(),
    options: ServerOptions = NO_OPTIONS,
) -> None:
    """Save a template, from a task or from a prompt and options.

    Parameters
    ----------
    name
        Small letters, digits, and . _ - between them.
    prompt
        What the agent is asked to do; {issue} is a variable, and {{issue}} the text {issue}.
    from_
        The task whose prompt, agent, checks, budget and requirements are saved. A prompt takes the place of its own.
    file
        Read the prompt from a file; - is stdin.
    overwrite
        Change the template if it exists.
    """
    if prompt and file:
        raise usage("give the prompt either as an argument or with -F", f"example: {_EXAMPLE}")
    if agent_options.env:
        raise usage("a template keeps no values of an environment", "give --env when you run it: ado run @NAME --env …")
    text = read_prompt(file) if file else prompt
    groups = [_members(agent_options, limits), *(group.members() for group in (each_task, checks, budget, pod))]
    given = {key: value for members in groups for key, value in members.items() if value}
    server = choose(options)
    content = _from_task(from_, text, given) if from_ else _from_options(text, given, server.agent)
    saved = http(server).mutate("templates.save", {"name": named(name), "overwrite": overwrite, **content})
    if options.output == "text":
        _describe(saved)
    write_one(saved, options.output, "name", note=f"run it: {_example_run(saved)}")


def _members(agent: AgentOptions, limits: LimitOptions) -> dict[str, Any]:
    """Return members of a task for its agents and its limits. Raises CliError."""
    named = agent.agent or []
    return {
        **({"agent": named[0]} if named else {}),
        **({"agents": named} if len(named) > 1 else {}),
        "agentArgs": agent.arguments(),
        "approve": agent.approve,
        "trustProject": agent.trust_project,
        "timeoutSeconds": optional_seconds(limits.timeout),
        "onFailure": "fail_fast" if limits.fail_fast else None,
    }


def _from_task(task: str, prompt: str | None, given: dict[str, Any]) -> dict[str, Any]:
    """Return members of templates.save for a template from a task. Raises CliError."""
    if given:
        raise usage("--from takes everything but the prompt from the task", "leave --from or the other options out")
    return {"fromTask": task, **({"prompt": prompt} if prompt else {})}


def _from_options(prompt: str | None, given: dict[str, Any], default_agent: str | None) -> dict[str, Any]:
    """Return members of templates.save for a template from a prompt and options. Raises CliError."""
    if not prompt:
        raise usage("a template needs a prompt, or --from with a task", f"example: {_EXAMPLE}")
    if not (agent := given.get("agent") or default_agent):
        raise usage("a template needs an agent", "add --agent, for example --agent claude-code")
    task = {**given, "prompt": prompt, "agent": agent}
    if is_ai([agent]):
        task["workspace"] = {}  # what an AI agent makes comes back
    return {"task": task}


def _describe(saved: dict[str, Any]) -> None:
    """Say what a person may not expect of a template that was saved."""
    variables = [f"{{{name}}}" for name in saved["variables"]]
    if variables:
        talk(f"ado: variables of @{saved['name']}: {', '.join(variables)}")
    left_out = saved.get("leftOut") or []
    if "workspace" in left_out:
        talk("ado: the task's repository is not part of it, because workers could not fetch its branch: ado run sends")
        talk("ado: the one where you are, and a schedule has none; ADO_GIT_HOSTS of the workers allows hosts")
    if remote := (saved["task"].get("workspace") or {}).get("remote"):
        talk(f"ado: each job starts from the newest commit of {remote['ref']} of {remote['url']}")
    if values := [name.removeprefix("env.") for name in left_out if name.startswith("env.")]:
        talk(f"ado: values of its environment are not part of it: {', '.join(values)}; ado run @NAME takes --env")


def _example_run(saved: dict[str, Any]) -> str:
    return " ".join([f"ado run @{saved['name']}", *(f"--var {name}=VALUE" for name in saved["variables"])])


@template.default
@template.command(name="list")
def list_(*, options: ServerOptions = NO_OPTIONS) -> None:
    """List the templates."""
    page = whole(http(choose(options)), "templates.list")
    rows = [["template", "agent", "saved", "by", "prompt"]]
    rows += [
        [f"@{item['name']}", item["agent"], ago(item["savedAt"]), item.get("savedBy") or "-", item["prompt"]]
        for item in page["items"]
    ]
    nothing = "there are no templates; ado template save NAME --from TASK makes one"
    write_items(page, options.output, "name", rows, nothing=nothing)


@template.command
def show(name: str, /, *, options: ServerOptions = NO_OPTIONS) -> None:
    """Show a template: its prompt, and everything else of the task that it makes."""
    template_ = http(choose(options)).query("templates.get", {"name": named(name)})
    task = template_["task"]
    if options.output != "text":
        write_one(template_, options.output, "name")
        return
    write_lines([f"@{template_['name']}, saved by {template_.get('savedBy') or 'nobody'} {ago(template_['savedAt'])}"])
    if variables := names(task["prompt"]):
        write_lines([f"variables: {', '.join(variables)}"])
    write_lines(["", *task["prompt"].splitlines(), ""])
    write_json({key: value for key, value in {"agent": "shell", **task}.items() if key != "prompt"})


@template.command
def remove(name: str, /, *, options: ServerOptions = NO_OPTIONS) -> None:
    """Remove a template that no schedule uses; its tasks stay."""
    removed = http(choose(options)).mutate("templates.remove", {"name": named(name)})
    write_one(removed, options.output, "name", note=f"@{removed['name']} is removed")
