"""Checks of a server's origins and of a token, before anything is sent."""

from __future__ import annotations

from app.core.origins import is_origin, is_token
from cli.errors import usage


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
