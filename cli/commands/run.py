"""``ado run``."""

from __future__ import annotations

import os
import shlex
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from app.rpc.client import CallError, HttpClient, InvalidAnswer, Unreachable
from cli import durations, exits, local_runs
from cli.agents import PROGRAMS, STDIN, first
from cli.commands.repo import RepositoryOptions, send
from cli.commands.watch import watch
from cli.control_plane import embedded
from cli.errors import usage
from cli.name_values import pair
from cli.output import talk, write_one
from cli.pod_options import PodOptions
from cli.remote.connection import Options, choose, http, need_server
from cli.remote.contexts import Server
from cli.remote.fleet import check_offered
from cli.remote.follow import View
from cli.remote.listing import workers_status
from cli.remote.retry import until_answered
from cli.remote.standard_input import appended, check_taken, is_wanted
from cli.remote.wait_reasons import nobody_offers
from cli.remote_only import refuse_remote_only
from cli.render.terminal import colour_wishes

_NO_OPTIONS = Options()
_NO_REPOSITORY = RepositoryOptions()
_NO_POD = PodOptions()
_FIRST_CONTACT_SECONDS = 10.0


def run(
    *prompt: str,
    file: Annotated[str | None, Parameter(name=["--file", "-F"])] = None,
    stdin: Annotated[bool | None, Parameter(name=["--stdin", "-i"], negative="--no-stdin")] = None,
    remote: bool = False,
    workers: int = 1,
    agent: str | None = None,
    wait_for_agent: bool = False,
    detach: bool = False,
    env: list[str] | None = None,
    label: list[str] | None = None,
    require: list[str] | None = None,
    timeout: str | None = None,
    start_within: str | None = None,
    retries: int = 0,
    priority: int | None = None,
    fail_fast: bool = False,
    secret: list[str] | None = None,
    model: str | None = None,
    trust_project: bool = False,
    raw_events: bool = False,
    repository: RepositoryOptions = _NO_REPOSITORY,
    pod: PodOptions = _NO_POD,
    options: Options = _NO_OPTIONS,
) -> int:
    """Run a prompt here, or with --remote on workers.

    Parameters
    ----------
    prompt
        What the agent is asked to do; - reads it from stdin. For the agent shell one argument is a command line, and
        several are a command with its arguments, kept apart: write them after --.
    file
        Read the prompt from a file; - is stdin.
    stdin
        Hand on stdin to the agent shell, and append it to the prompt of an AI agent; a shell gets what is piped anyway.
    remote
        Run on workers, through a server.
    workers
        How many jobs the task has.
    agent
        Who runs the prompt.
    wait_for_agent
        Create the task even if nobody offers its agent yet.
    detach
        Return as soon as the task exists.
    env
        NAME=VALUE for the agent's environment, or NAME to take the value from here.
    label
        NAME=VALUE to find the task by.
    require
        A capability the worker must offer.
    timeout
        Longest time of one attempt: 2h, 10m, 30s.
    start_within
        Fail a job that no worker has taken within 1h, 10m, 30s.
    retries
        How often a job runs again after its agent failed.
    priority
        Larger is claimed first.
    fail_fast
        Stop the other jobs when one fails.
    secret
        A secret that the worker holds, for the agent's environment; may be given several times.
    model
        The model that the AI agent uses.
    trust_project
        Let the repository's own settings for the agent count: hooks, MCP servers, plugins, permissions.
    raw_events
        Show the AI agent's own lines instead of what they say.
    """
    if remote:
        need_server(options)
    words = _words(prompt, file)
    environment = dict(_variable(entry) for entry in env or [])
    args = {"model": model} if model else {}
    seconds = durations.parse(timeout) if timeout else None
    if not remote:
        if trust_project:
            raise usage("--trust-project needs --remote: here the agent decides by your own settings", "leave it out")
        of_a_task = {
            "wait-for-agent": wait_for_agent,
            "detach": detach,
            "label": label,
            "require": require,
            "start-within": start_within,
            "retries": retries,
            "priority": priority is not None,
            "secret": secret,
        }
        refuse_remote_only(of_a_task, repository, pod, options)
        chosen = agent or first([], [*local_runs.own_agents(), *local_runs.agents()])
        handed_on = is_wanted(stdin, chosen, jobs=workers, detach=False, is_prompt=file == "-")
        return local_runs.run(
            _prompt(words, chosen, stdin),
            chosen,
            stdin=handed_on,
            workers=workers,
            env=environment,
            args=args,
            timeout=seconds,
            own_lines=raw_events,
        )
    server = choose(options, start=True)
    client = http(server)
    chosen = agent or server.agent or _offered_agent(client, server)
    if agent and not wait_for_agent:
        check_offered(agent, _workers(client), local_runs.agents() if _is_embedded(server) else ())
    handed_on = is_wanted(stdin, chosen, jobs=workers, detach=detach, is_prompt=file == "-")
    text = _prompt(words, chosen, stdin)
    sent = send(client, repository, chosen, ai=chosen not in PROGRAMS)
    wish: dict[str, Any] = {
        "prompt": text,
        "agent": chosen,
        "workers": workers,
        "requires": [
            *(require or []),
            *(f"secret:{name}" for name in secret or []),
            *sent.requires,
            *([STDIN] if handed_on else []),  # a server of an older release knows no other way to find such a worker
        ],
        "workspace": sent.workspace,
        "priority": priority or 0,
        "retries": retries,
        "timeoutSeconds": seconds,
        "startWithinSeconds": durations.parse(start_within) if start_within else None,
        "env": environment if detach or chosen not in PROGRAMS else {**colour_wishes(), **environment},
        "agentArgs": args or None,
        **({"trustProject": True} if trust_project else {}),
        **({"stdin": True} if handed_on else {}),
        "labels": dict(pair(entry, "--label") for entry in label or []),
        "onFailure": "fail_fast" if fail_fast else "continue",
        "idempotencyKey": str(uuid.uuid4()),
        **pod.wish(),
    }
    task = _create(client, wish)
    sent.keep(task["taskId"])
    if handed_on:
        check_taken(client, task)
    if detach:
        return _say_created(client, task, options)
    client.close()
    if options.output == "text":
        talk(f"ado: {task['taskId']} ({workers} {'job' if workers == 1 else 'jobs'}, agent {task['agent']})")
    return watch(server, View(task["taskId"], workers, own_lines=raw_events, stdin=handed_on), options)


def _words(prompt: Sequence[str], file: str | None) -> Sequence[str]:
    """Return the prompt as it was given: one text, or several words."""
    if bool(prompt) == (file is not None):
        raise usage("give the prompt either as an argument or with -F", 'example: ado run "fix the failing test"')
    words = [_read(file)] if file is not None else prompt
    if not any(word.strip() for word in words):
        raise usage("the prompt is empty", 'example: ado run "fix the failing test"')
    return words


def _read(file: str) -> str:
    try:  # as bytes: a text file's carriage returns would be changed
        return (sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()).decode()
    except (OSError, ValueError) as error:
        raise usage(f"the prompt cannot be read: {error}", "check -F; the prompt is UTF-8 text") from error


def _text(words: Sequence[str], agent: str) -> str:
    """Return one text: a shell gets each of several words as one argument, others get a sentence."""
    return shlex.join(words) if agent == "shell" and len(words) > 1 else " ".join(words)


def _prompt(words: Sequence[str], agent: str, stdin: bool | None) -> str:
    """Return the whole prompt: an AI agent's has stdin at its end, where that is wanted."""
    text = _text(words, agent)
    return appended(text) if stdin and agent not in PROGRAMS else text


def _variable(entry: str) -> tuple[str, str]:
    if "=" not in entry:
        if entry not in os.environ:
            raise usage(f"--env {entry}: it is not set here", f"write --env {entry}=VALUE")
        try:
            os.environ[entry].encode()
        except UnicodeEncodeError as error:
            raise usage(f"--env {entry}: its value here is not UTF-8", f"write --env {entry}=VALUE") from error
        return entry, os.environ[entry]
    return pair(entry, "--env")


def _offered_agent(client: HttpClient, server: Server) -> str:
    """Return the first AI agent of the live workers, and of those that the control plane here would start."""
    return first(_workers(client)["workers"], local_runs.offered()[0] if _is_embedded(server) else ())


def _workers(client: HttpClient) -> dict[str, Any]:
    """Return the workers; a server whose database is just coming back is waited for, as when the task is created."""
    return until_answered(lambda: workers_status(client))


def _is_embedded(server: Server) -> bool:
    running = embedded.find()
    return running is not None and set(server.urls) <= set(running.urls)


def _create(client: HttpClient, wish: dict[str, Any]) -> dict[str, Any]:
    """Create the task; the idempotency key makes it safe to ask again until there is an answer."""
    end = time.monotonic() + _FIRST_CONTACT_SECONDS
    while True:
        try:
            task: dict[str, Any] = client.mutate("tasks.create", wish)
        except Unreachable as error:
            if isinstance(error, InvalidAnswer) or time.monotonic() > end:
                raise
        except CallError as error:
            if error.code != "SERVICE_UNAVAILABLE" or time.monotonic() > end:
                raise
        else:
            return task
        time.sleep(0.2)


def _say_created(client: HttpClient, task: dict[str, Any], options: Options) -> int:
    name = task["taskId"]
    write_one(task, options.output, "taskId", [name], said=f"watch it with: ado attach {name}")
    if options.output == "text" and (wanted := nobody_offers(task, workers_status(client))):
        talk(f"ado: it waits: {wanted}")
    client.close()
    return exits.SUCCESS
