"""``ado login`` and ``ado context``."""

from __future__ import annotations

import getpass
import sys

from cyclopts import App

from cli import contexts, exits
from cli.connection import http
from cli.contexts import Server
from cli.errors import usage
from cli.output import Output, talk, write_json

contexts_ = App(name="context", help="List the remembered servers, or choose one.", help_format="plaintext")


def login(url: str, /, *, name: str = "default", agent: str | None = None) -> int:
    """Remember a server and its token; the token is read from the terminal or stdin.

    Parameters
    ----------
    url
        The server's origin, or several, divided by commas.
    name
        What to call it.
    agent
        The agent that runs prompts there unless another one is named.
    """
    token = (getpass.getpass("token: ") if sys.stdin.isatty() else sys.stdin.readline()).strip()
    if not token:
        raise usage("no token was given", "make one with ado token create and paste it")
    urls = [part.strip() for part in url.split(",") if part.strip()]
    http(Server(tuple(urls), token)).query("workers.status")
    content = contexts.load()
    content["contexts"][name] = {"urls": urls, "token": token, "agent": agent}
    content["current"] = name
    contexts.save(content)
    talk(f"ado: {name} is {url}, and is used from now on")
    return exits.SUCCESS


@contexts_.command(name="list")
def list_(*, output: Output = "text") -> int:
    """List the remembered servers."""
    content = contexts.load()
    items = [
        {"name": name, "urls": entry["urls"], "current": name == content["current"]}
        for name, entry in content["contexts"].items()
    ]
    if output in ("json", "jsonl"):
        write_json({"items": items})
    else:
        for item in items:
            print(
                item["name"]
                if output == "name"
                else f"{'*' if item['current'] else ' '} {item['name']}  {item['urls'][0]}"
            )
    return exits.SUCCESS


@contexts_.command
def use(name: str, /) -> int:
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
    talk(f"ado: {name} is used from now on")
    return exits.SUCCESS
