"""What a caller gives to reach a server: origins such as ``https://ado.example``, and a token."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_HOST = re.compile(r"[A-Za-z0-9._~%:-]{1,253}")
_TOKEN = re.compile(r"[!-~]+")


def is_origin(text: str) -> bool:
    """Whether a text is a scheme, a host and perhaps a port, with nothing behind them: calls are made below /trpc."""
    try:
        parts = urlsplit(text)
        has_place = parts.scheme in ("http", "https") and _HOST.fullmatch(parts.hostname or "") and parts.port != 0
    except ValueError:  # a bracket that is not closed, or no number as a port
        return False
    is_bare = parts.path.strip("/") == "" and not (parts.query or parts.fragment or "@" in parts.netloc)
    return bool(has_place and is_bare)


def is_token(text: str) -> bool:
    """Whether a text can be a token: no request carries any other."""
    return _TOKEN.fullmatch(text) is not None
