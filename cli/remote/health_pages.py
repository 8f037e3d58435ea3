"""The health pages of a replica, ``/healthz`` and ``/readyz``, which need no token."""

from __future__ import annotations

import contextlib
import http.client
import time
from typing import Any
from urllib.parse import urlsplit

from app.rpc.client.reading import Response, parse
from app.rpc.client.tls import Trust

_SECONDS = 5.0


def page(url: str, path: str, trust: Trust) -> tuple[dict[str, Any], float]:
    """Return a page's JSON and the seconds it took. Raises OSError, ValueError."""
    parts = urlsplit(url)
    began = time.perf_counter()
    try:
        connection = (
            http.client.HTTPSConnection(parts.netloc, timeout=_SECONDS, context=trust.context())
            if parts.scheme == "https"
            else http.client.HTTPConnection(parts.netloc, timeout=_SECONDS)
        )
        connection.response_class = Response
        with contextlib.closing(connection):
            connection.request("GET", path)
            with connection.getresponse() as response:
                status, body = response.status, response.read_whole()  # type: ignore[attr-defined]
    except (http.client.HTTPException, OverflowError) as error:
        raise ValueError(f"the answer is not HTTP ({type(error).__name__})") from error
    try:
        content = parse(body)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ValueError(f"the answer (HTTP {status}) is not from an ado server")
    return content, time.perf_counter() - began
