"""The server that a client calls: from arguments, else from ADO_URL, ADO_TOKEN or ADO_TOKEN_FILE, and ADO_CA."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.client.errors import NotConfigured
from app.core.origins import is_origin, is_token
from app.core.token_file import TokenFileExposed, read_token


@dataclass(frozen=True, slots=True)
class ConfiguredServer:
    """Origins of one installation, the caller's token, and the file of the CA; empty for the system's CAs."""

    urls: tuple[str, ...]
    token: str | None
    ca: str


def server(url: str | Sequence[str] | None, token: str | None, ca: str | None) -> ConfiguredServer:
    """Return the server to call. A token from the environment goes only to the server from the environment.

    Raises NotConfigured.
    """
    text = url if url is not None else os.environ.get("ADO_URL", "")
    urls = tuple(part.strip() for part in (text.split(",") if isinstance(text, str) else text) if part.strip())
    if not urls:
        raise _unusable("no server is named", "give url, or set ADO_URL to origins such as https://ado.example")
    for origin in urls:
        if not is_origin(origin):
            raise _unusable(f"{origin!r} is no origin", "write it as http://HOST:PORT or https://HOST, without a path")
    if token is None and url is None:
        token = os.environ.get("ADO_TOKEN") or _token_from_file()
    token = token.strip() if token is not None else None
    if token and not is_token(token):
        raise _unusable("the token holds blanks or characters that no token has", "copy it again, or make another one")
    return ConfiguredServer(urls, token, ca if ca is not None else os.environ.get("ADO_CA", ""))


def _token_from_file() -> str | None:
    path = os.environ.get("ADO_TOKEN_FILE")
    if not path:
        return None
    try:
        return read_token(Path(path))
    except TokenFileExposed as error:
        raise _unusable(str(error), f"chmod 600 {path}") from error
    except OSError as error:
        raise _unusable(f"{path}: {error.strerror}", "set ADO_TOKEN_FILE to a file that holds the token") from error


def _unusable(message: str, hint: str) -> NotConfigured:
    return NotConfigured(message, code="NOT_CONFIGURED", hint=hint)
