"""``ado open``: the dashboard in a browser, signed in with a code for one use.

The code is behind the ``#`` of the address. Browsers send that part to no server, so no log has it. The page removes
it from the address at once.
"""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import urlsplit

from app.rpc.client.tls import is_loopback
from cli.dashboard import prepare
from cli.declarations import Parameter
from cli.output import talk, write_one
from cli.parameters import UserRole
from cli.remote.connection import NO_OPTIONS, ServerOptions, choose, http, task_id
from cli.remote.handover import Handover

_VISIT_SECONDS = 30.0
"""How long a browser may take to start; the printed address is then good for another 30 seconds."""


def dashboard(
    task: str | None = None,
    /,
    *,
    role: UserRole | None = None,
    browser: Annotated[bool, Parameter(negative="--no-browser", show_default=False)] = True,
    options: ServerOptions = NO_OPTIONS,
) -> None:
    """Open the dashboard in a browser, signed in; where no browser can be opened, print its address.

    The address signs in once, within a minute. The session ends after twelve hours, or with the token that opened it.

    Parameters
    ----------
    task
        The task to show.
    role
        What the session may do, at most as much as your token.
    browser
        Open a browser, or only print the address.
    """
    client = http(choose(options))
    if is_loopback(urlsplit(client.origin).hostname or ""):  # the server is this checkout's
        client.query("users.whoami")  # without a server that answers, nothing is built
        prepare(talk, install_node=True)
    path = "/" if task is None else f"/tasks/{task_id(task)}"
    members = {} if role is None else {"role": role}
    made = client.mutate("sessions.code", members, resend=True)  # a second code does no harm
    address = f"{client.origin}{path}#code={made['code']}"
    if browser and has_browser(os.environ, sys.platform) and _opened(address):
        talk(f"ado: opened {client.origin}{path} in the browser")
        return
    write_one({"address": address, "expiresAt": made["expiresAt"]}, options.output, "address", [address])


def _opened(address: str) -> bool:
    """Open an address in the browser, and return whether that worked."""
    if not Handover.is_possible():  # macOS: the opener gets the address on its stdin; Windows: nobody sees arguments
        return webbrowser.open(address)
    with Handover(address) as handover:
        return webbrowser.open(handover.address) and handover.wait(_VISIT_SECONDS)


def has_browser(environ: Mapping[str, str], platform: str) -> bool:
    """Return whether a browser can show a page to whoever typed the command, and not on another machine or as text."""
    if environ.get("BROWSER"):
        return True
    if environ.get("SSH_CONNECTION") and not environ.get("DISPLAY"):
        return False
    return platform in ("darwin", "win32") or bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))
