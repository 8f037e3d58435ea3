"""The tree of commands; each is imported when it is used, because start-up time is what a person notices first."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cyclopts

_GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "Run and watch": {
        "run": ("commands.run:run", "Run a prompt here, or with --remote on workers."),
        "attach": ("commands.watch:attach", "Replay a task's log, then watch it live."),
        "logs": ("commands.watch:logs", "Print a task's output."),
        "open": ("commands.dashboard:dashboard", "Open the dashboard in a browser, signed in."),
    },
    "Tasks": {
        "tasks": ("commands.tasks:tasks", "List, show, update and remove tasks."),
        "wait": ("commands.tasks:wait", "Wait for tasks to end."),
        "explain": ("commands.tasks:explain", "Say why a task waits."),
        "send": ("commands.send:send", "Send a message to the agent of a task."),
        "pause": ("commands.pause:pause", "Pause a task: its agents stop, and their work is kept."),
        "resume": ("commands.pause:resume", "Resume a paused task, with words for its agents if you like."),
        "cancel": ("commands.tasks:cancel", "Stop tasks."),
        "retry": ("commands.tasks:retry", "Queue the failed and cancelled jobs of a task again."),
        "inbox": ("commands.questions:inbox", "List open questions, and your tasks that ended since the last look."),
        "answer": ("commands.questions:answer", "Answer a job's question."),
        "approve": ("commands.questions:approve", "Allow an agent to use the tool that it asks for."),
        "deny": ("commands.questions:deny", "Refuse an agent the tool that it asks for."),
        "ask": ("commands.questions:ask", "Inside a job, ask a person and print the answer."),
        "notify": ("commands.notify:notify", "Send webhooks when tasks end and when jobs ask."),
        "template": ("commands.template:template", "Save tasks as templates: ado run @NAME runs one."),
        "schedule": ("commands.schedule:schedule", "Run templates at times, by cron expressions."),
        "kv": ("commands.kv:kv", "Share values between the jobs of a task."),
        "mask": ("commands.mask:mask", "Inside a job, mask a value in what it prints from now on."),
    },
    "Results": {
        "diff": ("commands.repo:diff", "Show what a task changed."),
        "apply": ("commands.repo:apply", "Apply a task's changes to the working tree."),
        "checkout": ("commands.repo:checkout", "Check out the branch with a task's result."),
        "compare": ("commands.candidates:compare", "Show the jobs of a task side by side."),
        "pick": ("commands.candidates:pick", "Take one job's result, and record the choice."),
        "pr": ("commands.pull_request:pull_request", "Push a task's result, and open a pull request for it."),
        "download": ("commands.repo:download", "Write files of a task's result into a directory."),
        "refs": ("commands.refs:refs", "Fetch, show and remove this repository's refs of tasks."),
    },
    "Workers and servers": {
        "workers": ("commands.workers:workers", "Show, drain, scale and autoscale workers."),
        "worker": ("commands.worker:worker", "Run a worker."),
        "up": ("commands.plane:up", "Start the embedded control plane."),
        "down": ("commands.plane:down", "Stop the embedded control plane."),
        "status": ("commands.plane:status", "Show the embedded control plane."),
        "api": ("commands.api:replica", "Run one API replica, or print its types."),
        "spawner": ("commands.spawner:spawner", "Run a spawner."),
        "db": ("commands.database:database", "Migrate, check or prune the database."),
    },
    "People and tokens": {
        "login": ("commands.context:login", "Remember a server and its token."),
        "context": ("commands.context:contexts_", "List the remembered servers, choose or forget one."),
        "whoami": ("commands.users:whoami", "Show the user and the role of your token."),
        "users": ("commands.users:users", "List, add, change and disable users."),
        "token": ("commands.token:tokens", "Make, list and revoke tokens."),
        "audit": ("commands.audit:audit", "List who changed what and which calls were refused."),
    },
    "Set-up and help": {
        "doctor": ("commands.doctor:doctor", "Check the connection to the workers, and say what fixes it."),
        "install": ("commands.install:install", "Link ./ado into ~/.local/bin, so that ado works everywhere."),
        "completion": ("commands.completion:completion", "Print a completion script for bash, zsh or fish."),
        "complete": ("commands.completion:complete", "Print what may come next on a command line."),
        "support-bundle": ("commands.support:support_bundle", "Write an archive for support, without secrets."),
        "help": (
            "commands.topics:topic",
            "Explain agents, configuration, environment, exit-codes, pause, repository, settings or stdin.",
        ),
    },
}
"""For each group of the help: its commands, where each is, and what the help says of it."""
COMMANDS = {name: f"cli.{path}" for group in _GROUPS.values() for name, (path, _) in group.items()}
_ABOUT = """\
Run AI coding agents, or any command, on remote machines: watch, leave, come back.

Start here:
  ado run "fix the failing test"                   on this machine
  ado run --remote --workers 3 "review this code"  on workers
  ado attach task-12                               watch a task again
"""
_HIDDEN = frozenset({"complete"})


def load(name: str) -> Any:
    """Import a command; return its function, or its App where it has subcommands."""
    module, _, attribute = COMMANDS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def build() -> cyclopts.App:
    """Return the tree for cyclopts."""
    from cyclopts import App, Group

    from cli.control_plane.embedded import version
    from cli.render.help_layout import HelpFormatter

    app = App(
        name="ado",
        help=_ABOUT,
        version=version,
        help_format="plaintext",
        help_formatter=HelpFormatter(),
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
        help_on_error=False,
        suppress_keyboard_interrupt=False,
    )
    for number, (title, group) in enumerate(_GROUPS.items()):
        panel = Group(title, sort_key=number)
        for name, (_, text) in group.items():
            app.command(f"cli.cyclopts_tree:{name}", name=name, help=text, group=panel, show=name not in _HIDDEN)
    app["--help"].group = app["--version"].group = Group("Options", sort_key=len(_GROUPS))
    return app
