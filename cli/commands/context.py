"""``ado login`` and ``ado context``."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path

from cli.declarations import App
from cli.errors import usage
from cli.output import write_items, write_one
from cli.parameters import OutputOption
from cli.remote import contexts
from cli.remote.connection import check_transport, http, origins
from cli.remote.contexts import ServerContext

contexts_ = App(name="context", help="List the remembered servers, choose or forget one.")


def login(
    url: str,
    /,
    *,
    name: str = "default",
    agent: str | None = None,
    ca: Path | None = None,
    output: OutputOption = "text",
) -> None:
    """Remember a server and its token; the token is read from the terminal or stdin.

    Parameters
    ----------
    url
        The server's origin, or several, separated by commas.
    name
        What to call it.
    agent
        The agent that runs prompts there unless another one is named.
    ca
        CA in PEM to trust the server by, in place of the system's.
    """
    token = _typed_token()
    urls = list(origins(url))
    trusted = str(ca.absolute()) if ca else os.environ.get("ADO_CA") or None
    server = ServerContext(tuple(urls), token, ca=trusted)
    check_transport(server)
    http(server).query("workers.status")
    content = contexts.load()
    content["contexts"][name] = {"urls": urls, "token": token, "agent": agent, "ca": trusted}
    content["current"] = name
    contexts.save(content)
    write_one({"name": name, "urls": urls}, output, "name", note=f"{name} is {url}, and is used from now on")


def _typed_token() -> str:
    step = "make one with ado token create and paste it"
    try:
        token = (getpass.getpass("token: ") if sys.stdin.isatty() else sys.stdin.readline()).strip()
    except UnicodeDecodeError:
        raise usage("what was given on stdin is no token: it is not UTF-8", step) from None
    if not token:
        raise usage("no token was given", step)
    return token


@contexts_.command(name="list")
def list_(*, output: OutputOption = "text") -> None:
    """List the remembered servers."""
    content = contexts.load()
    items = [
        {"name": name, "urls": entry["urls"], "current": name == content["current"]}
        for name, entry in content["contexts"].items()
    ]
    rows = [["", "name", "url"]]
    rows += [["*" if item["current"] else " ", item["name"], ",".join(item["urls"])] for item in items]
    write_items({"items": items}, output, "name", rows)


@contexts_.command
def use(name: str, /, *, output: OutputOption = "text") -> None:
    """Choose a remembered server.

    Parameters
    ----------
    name
        Its name.
    """
    contexts.named(name)
    content = contexts.load()
    content["current"] = name
    contexts.save(content)
    write_one({"name": name}, output, "name", note=f"{name} is used from now on")


@contexts_.command
def remove(name: str, /, *, output: OutputOption = "text") -> None:
    """Forget a remembered server and its token.

    Parameters
    ----------
    name
        Its name.
    """
    contexts.named(name)
    content = contexts.load()
    del content["contexts"][name]
    if content["current"] == name:
        content["current"] = None
    contexts.save(content)
    write_one({"name": name}, output, "name", note=f"{name} is forgotten")
