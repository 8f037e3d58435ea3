"""The open pages of a replica, ``/healthz`` and ``/readyz``, which need no token."""

from __future__ import annotations

import http.client
import time
from typing import Any
from urllib.parse import urlsplit

import orjson


def page(url: str, path: str) -> tuple[dict[str, Any], float]:
    """Return a page's JSON and the seconds it took. Raises OSError, ValueError."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=5)
    began = time.perf_counter()
    try:
        connection.request("GET", path)
        body = connection.getresponse().read()
    except http.client.HTTPException as error:
        raise ValueError(str(error)) from error
    finally:
        connection.close()
    return orjson.loads(body), time.perf_counter() - began
