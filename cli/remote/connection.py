"""The server that a command calls: from options, ADO_URL and ADO_TOKEN, the context, or the embedded control plane."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from app.core.origins import is_origin, is_token
from app.core.token_file import TokenFileExposed, read_token
from app.rpc.client import HttpClient
from app.rpc.client.tls import TrustUnusable, is_clear_text
from cli import exits
from cli.control_plane import embedded
from cli.declarations import Parameter
from cli.errors import CliError, usage
from cli.extras import need
from cli.output import talk
from cli.parameters import SERVER_GROUP, OutputOption
from cli.remote import contexts
from cli.remote.checked_calls import check
from cli.remote.contexts import ServerContext


@Parameter(name="*", group=SERVER_GROUP)
@dataclass(frozen=True)
class ServerOptions:
    """The options of every command that calls a server."""

    url: str | None = None
    "Origins of the server, separated by commas."
    token: str | None = None
    "The caller's token. Every user of this machine can see it while the command runs."
    token_file: str | None = None
    "File with the caller's token, which nobody else may read. ADO_TOKEN_FILE does the same."
    ca: str | None = None
    "CA in PEM to trust the server by, instead of the system's. ADO_CA does the same."
    context: str | None = None
    "A server from the contexts file."
    output: OutputOption = "text"

    @property
    def as_json(self) -> bool:
        """Whether data and errors are JSON."""
        return self.output in ("json", "jsonl")


NO_OPTIONS = ServerOptions()


def choose(options: ServerOptions, *, start: bool = False) -> ServerContext:
    """Return the server to call; with ``start`` an embedded one is started if none is configured. Raises CliError.

    A token of an option or variable is sent to the chosen server; a remembered one only to the server it belongs to.
    """
    server = _chosen(options, start=start)
    check_transport(server)
    return server


def _chosen(options: ServerOptions, *, start: bool) -> ServerContext:
    environ = {} if options.context is not None else os.environ  # a context of an option has its own token
    ca = options.ca or environ.get("ADO_CA") or None
    token = _given_token(options, environ)
    if url := options.url or environ.get("ADO_URL"):
        known = _known(url)
        return ServerContext(origins(url), token or known.token, ca=ca or known.ca)
    if remembered := contexts.named(options.context):
        return replace(remembered, token=token or remembered.token, ca=ca or remembered.ca)
    if start:
        need("server")
    running = embedded.ensure(talk) if start else embedded.find()
    if running is None:
        raise usage("no server is configured and none runs here", "ado up --detach, ado login URL, or set ADO_URL")
    return ServerContext(running.urls, token or running.token)


def need_server(options: ServerOptions) -> None:
    """Install the server part if no server is named. This may restart the command, so stdin must not be read before."""
    if not options.url and not os.environ.get("ADO_URL") and contexts.named(options.context) is None:
        need("server")


def check_transport(server: ServerContext) -> None:
    """Raise CliError for an origin, a token or a CA that cannot be used, and warn of tokens over plain HTTP."""
    for url in server.urls:
        check_origin(url)
    if server.token:
        check_token(server.token)
    if any(url.startswith("https:") for url in server.urls):
        try:
            server.trust.context()
        except TrustUnusable as error:
            step = "check --ca, ADO_CA, or the file of the login: ado login URL --ca FILE names another one"
            raise usage(f"TLS cannot be used: {error}", step) from error
    if "ADO_ATTEMPT" not in os.environ:  # inside a job its worker has warned already
        for url in filter(is_clear_text, server.urls):
            _warn(url)


@functools.cache
def _warn(url: str) -> None:
    talk(f"ado: {url} is plain HTTP: everybody on the way can read the token; use https")


def _given_token(options: ServerOptions, environ: Mapping[str, str]) -> str | None:
    """Return the token of an option, else that of the environment; each may name a file. Raises CliError."""
    for token, file in (
        (options.token, options.token_file),
        (environ.get("ADO_TOKEN"), environ.get("ADO_TOKEN_FILE")),
    ):
        if token:
            return token
        if file:
            return _token_in(Path(file))
    return None


def _token_in(path: Path) -> str:
    try:
        return read_token(path)
    except TokenFileExposed as error:
        raise usage(str(error), error.next_step) from error
    except OSError as error:
        what = f"the token file {path} cannot be read: {error.strerror}"
        raise usage(what, "check --token-file, or ADO_TOKEN_FILE") from error


def _known(url: str) -> ServerContext:
    """Return the embedded control plane or the context with these origins; an empty one if neither has them."""
    wanted_urls = set(origins(url))
    running = embedded.find()
    if running and wanted_urls <= set(running.urls):
        return ServerContext(running.urls, running.token)
    contents = contexts.load()["contexts"]
    name = next((name for name, entry in contents.items() if wanted_urls <= set(entry["urls"])), None)
    return (contexts.named(name) if name is not None else None) or ServerContext((), None)


def http(server: ServerContext, timeout: float = 10.0) -> HttpClient:
    """Return a client for single calls that refuses answers of an unexpected shape."""
    return HttpClient(server.urls, server.token, timeout=timeout, check=check, trust=server.trust)


def task_id(text: str) -> str:
    """Return a task's id; ``123`` is short for ``task-123``. Raises CliError for another text."""
    match = re.fullmatch(r"(?:task-)?([0-9]{1,18})", text)
    if match is None:
        number = re.search(r"(?<![0-9])[0-9]{1,18}(?![0-9])", text)
        if job := re.fullmatch(r"(task-[0-9]{1,18})/([0-9]{1,9})", text):
            step = f"name {job[1]}, and the job with --job {job[2]} where the command takes it"
            raise CliError(f"{text} is a job, and this takes a task", step, exits.UNKNOWN, "no_such_task")
        meant = f"did you mean task-{number[0]}? " if number else ""
        step = f"{meant}ids look like task-12; ado tasks lists them"
        raise CliError(f"there is no task {text!r}", step, exits.UNKNOWN, "no_such_task")
    return f"task-{match[1]}"


def origins(text: str) -> tuple[str, ...]:
    """Return the origins of a text, which separates them by commas. Raises CliError for a text without any."""
    urls = tuple(part.strip() for part in text.split(",") if part.strip())
    if not urls:
        raise usage("no address of a server is given", "write it as https://ado.example or http://127.0.0.1:7421")
    return urls


def check_origin(url: str) -> None:
    """Raise CliError for a text that is not the origin of a server."""
    if not is_origin(url):
        raise usage(f"{url!r} is no address of a server", "write it as https://ado.example or http://127.0.0.1:7421")


def check_token(token: str) -> None:
    """Raise CliError for a token that no request can carry."""
    if not is_token(token):
        raise usage("the token holds blanks or characters that no token has", "copy it again, or make another one")
