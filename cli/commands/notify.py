"""``ado notify``: webhook targets that are notified when tasks end and when jobs ask."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from cli import exits
from cli.declarations import App, Parameter
from cli.errors import CliError
from cli.option_values import pairs
from cli.output import talk, write_items, write_one
from cli.remote.connection import NO_OPTIONS, ServerOptions, choose, http

notify = App(name="notify", help="Send webhooks when tasks end and when jobs ask.")


@notify.command
def add(
    url: str,
    /,
    *,
    on: Annotated[list[str] | None, Parameter(negative="")] = None,
    label: Annotated[list[str] | None, Parameter(negative="")] = None,
    format: Literal["json", "slack", "ntfy"] = "json",
    mine: Annotated[bool, Parameter(negative="")] = False,
    options: ServerOptions = NO_OPTIONS,
) -> None:
    """Add a target, and print the key with which its notifications are signed.

    Parameters
    ----------
    url
        Where the server sends them: an https address on the public internet, or a host in ADO_NOTIFY_HOSTS.
    on
        The events to send, separated by commas: question, succeeded, failed, cancelled. Default: all but cancelled.
    label
        Only tasks with this label: KEY=VALUE; give several.
    format
        json as the Standard Webhooks specification says, or what Slack or ntfy show.
    mine
        Only your own tasks; a developer's targets always are.
    """
    members = {"url": url, "on": _events(on) or None, "labels": pairs(label, "--label"), "format": format, "mine": mine}
    target = http(choose(options)).mutate("notifications.add", members)
    if options.output == "text":
        talk(f"ado: {target['targetId']} is notified of: {', '.join(target['on'])}")
        talk(f"ado: try it: ado notify test {target['targetId']}")
        talk("ado: the key of its signatures is shown only now:")
    write_one(target, options.output, "targetId", [target["secret"]])


def _events(on: list[str] | None) -> list[str]:
    return [name.strip() for item in on or [] for name in item.split(",") if name.strip()]


@notify.default
@notify.command(name="list")
def list_(*, options: ServerOptions = NO_OPTIONS) -> None:
    """List the targets, with how many notifications wait, were delivered, or were given up in the last week."""
    page = http(choose(options)).query("notifications.list", {})
    rows = [["target", "url", "on", "of", "waiting", "delivered", "given up", "last error"]]
    rows += [_row(target) for target in page["items"]]
    nothing = "no targets; add one with: ado notify add URL"
    write_items(page, options.output, "targetId", rows, nothing=nothing)


def _row(target: dict[str, Any]) -> list[str]:
    labels = [f"{key}={value}" for key, value in target["labels"].items()]
    whose = f"{target.get('createdBy', 'nobody')}'s tasks" if target["mine"] else "all tasks"
    counts = [str(target[name]) for name in ("waiting", "delivered", "failed")]
    on = ",".join(target["on"])
    return [target["targetId"], target["url"], on, " ".join([whose, *labels]), *counts, target.get("lastError") or "-"]


@notify.command
def remove(target: str, /, *, options: ServerOptions = NO_OPTIONS) -> None:
    """Remove a target; what waits for it is dropped."""
    removed = http(choose(options)).mutate("notifications.remove", {"targetId": target})
    write_one(removed, options.output, "targetId", note=f"{removed['targetId']} is removed")


@notify.command(name="test")
def try_target(target: str, /, *, options: ServerOptions = NO_OPTIONS) -> None:
    """Send a test to a target now."""
    tested = http(choose(options)).mutate("notifications.test", {"targetId": target})
    if not tested["delivered"]:
        step = "correct the receiver, or add the right address: ado notify add URL"
        raise CliError(f"{tested['targetId']}: {tested['error']}", step, exits.FAILED, "not_delivered")
    write_one(tested, options.output, "targetId", note=f"{tested['targetId']} took the test")
