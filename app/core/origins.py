"""Checks of a server's address and of a token, as a caller gives them."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_HOST = re.compile(r"[A-Za-z0-9._~%:-]{1,253}")
_TOKEN = re.compile(r"[!-~]+")


def is_origin(text: str) -> bool:
    """Return whether a text is an origin: scheme, host and optional port, without a path."""
    try:
        parts = urlsplit(text)
        has_host = parts.scheme in ("http", "https") and _HOST.fullmatch(parts.hostname or "") and parts.port != 0
    except ValueError:  # an unclosed bracket, or a port that is no number
        return False
    is_bare = parts.path.strip("/") == "" and not (parts.query or parts.fragment or "@" in parts.netloc)
    return bool(has_host and is_bare)


def is_token(text: str) -> bool:
    """Return whether a text can be a token: a header can carry only visible ASCII characters."""
    return _TOKEN.fullmatch(text) is not None
