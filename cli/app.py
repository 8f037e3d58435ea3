"""The tree of commands; each is imported when it is used, because start-up time is what a person notices first."""

from __future__ import annotations

from cyclopts import App

from cli.control_plane.embedded import version
from cli.render.help_layout import Columns

_COMMANDS = {
    "run": "cli.commands.run:run",
    "attach": "cli.commands.watch:attach",
    "logs": "cli.commands.watch:logs",
    "tasks": "cli.commands.tasks:tasks",
    "cancel": "cli.commands.tasks:cancel",
    "retry": "cli.commands.tasks:retry",
    "wait": "cli.commands.tasks:wait",
    "explain": "cli.commands.tasks:explain",
    "diff": "cli.commands.repo:diff",
    "apply": "cli.commands.repo:apply",
    "checkout": "cli.commands.repo:checkout",
    "download": "cli.commands.repo:download",
    "refs": "cli.commands.refs:refs",
    "workers": "cli.commands.workers:workers",
    "kv": "cli.commands.kv:kv",
    "mask": "cli.commands.mask:mask",
    "up": "cli.commands.plane:up",
    "down": "cli.commands.plane:down",
    "status": "cli.commands.plane:status",
    "api": "cli.commands.api:replica",
    "spawner": "cli.commands.spawner:spawner",
    "worker": "cli.commands.worker:worker",
    "db": "cli.commands.database:database",
    "token": "cli.commands.token:tokens",
    "audit": "cli.commands.audit:audit",
    "users": "cli.commands.users:users",
    "whoami": "cli.commands.users:whoami",
    "install": "cli.commands.install:install",
    "login": "cli.commands.context:login",
    "context": "cli.commands.context:contexts_",
    "doctor": "cli.commands.doctor:doctor",
    "support-bundle": "cli.commands.support:support_bundle",
    "completion": "cli.commands.completion:completion",
    "complete": "cli.commands.completion:complete",
    "help": "cli.commands.topics:topic",
}
HELP = {
    "run": "Run a prompt here, or with --remote on workers.",
    "attach": "Replay a task's log, then watch it live.",
    "logs": "Print a task's output.",
    "tasks": "List, show, update and remove tasks.",
    "cancel": "Stop tasks.",
    "retry": "Queue the failed and cancelled jobs of a task again.",
    "wait": "Wait for tasks to end.",
    "explain": "Say why a task waits.",
    "diff": "Show what a task changed.",
    "apply": "Lay what a task changed over the working tree.",
    "download": "Write files of a task's result into a directory.",
    "checkout": "Go to the branch that a task brought back.",
    "refs": "Fetch, show and remove what this repository keeps of tasks.",
    "workers": "Show, drain and scale workers.",
    "kv": "Share values between the jobs of a task.",
    "mask": "Inside a job, mask a value in what it prints from now on.",
    "up": "Start the embedded control plane.",
    "down": "Stop the embedded control plane.",
    "status": "Show the embedded control plane.",
    "api": "Run one API replica, or print its types.",
    "spawner": "Run a spawner.",
    "worker": "Run a worker.",
    "db": "Migrate, check or prune the database.",
    "token": "Make, list and revoke tokens.",
    "audit": "List who changed what and which calls were refused.",
    "users": "List, add, change and disable users.",
    "whoami": "Say as whom you call.",
    "install": "Link ./ado into ~/.local/bin, so that ado works everywhere.",
    "login": "Remember a server and its token.",
    "context": "List the remembered servers, choose or forget one.",
    "doctor": "Check the way from here to the workers.",
    "support-bundle": "Write an archive for somebody who helps, without secrets.",
    "completion": "Print a completion script for bash, zsh or fish.",
    "complete": "Print what may come next on a command line.",
    "help": "Explain agents, configuration, environment, exit-codes, repository or stdin.",
}
_HIDDEN = frozenset({"complete"})


def build() -> App:
    """Return the tree."""
    app = App(
        name="ado",
        help="Run AI coding agents, or any command, on remote machines: watch, leave, come back.",
        version=version,
        help_format="plaintext",
        help_formatter=Columns(),
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
        help_on_error=False,
        suppress_keyboard_interrupt=False,
    )
    for name, path in _COMMANDS.items():
        app.command(path, name=name, help=HELP[name], show=name not in _HIDDEN)
    return app
