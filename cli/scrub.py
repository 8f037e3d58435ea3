"""Removes secrets from a text that others will read.

Known values are removed in every likely form: as they are, percent-encoded, escaped as in JSON, in base64 of either
alphabet at any offset, and in hex. What only looks like a secret is removed too.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

_LEAST = 6  # a shorter value would also match ordinary words
_HIDDEN = b"[secret]"
_PATTERNS = (
    re.compile(rb"ado_[\w-]{20,}"),  # tokens
    re.compile(rb"(?<=://)[^\s/@\"']*:[^\s@\"']*(?=@)"),  # user and password of an address
    re.compile(rb"(?i)(?<=bearer )[^\s\"']+"),
    re.compile(rb"(?i)(?<=basic )[a-z0-9+/=]{8,}"),
    re.compile(rb"(?i)\b(?:password|passwd|secret|api[_-]?key|access[_-]?key)\b[\"']?\s*[=:]\s*[\"']?[^\s\"',}]+"),
    re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL),
    re.compile(rb"\b(?:sk-|ghp_|gho_|github_pat_|glpat-|xox[a-z]-|AIza|AKIA)[\w-]{10,}"),
)


def forms(value: str) -> Iterator[bytes]:
    """Yield the forms in which a text may contain a secret."""
    raw = value.encode("utf-8", "surrogateescape")
    yield raw
    yield quote(raw, safe="").encode()
    yield quote(raw).encode()
    yield quote_plus(raw).encode()
    yield json.dumps(raw.decode("utf-8", "replace"))[1:-1].encode()
    yield raw.hex().encode()
    yield raw.hex().upper().encode()
    for offset in range(3):  # base64 of a text that has the secret inside: the bits that only the secret decides
        padded = base64.b64encode(b"\0" * offset + raw)
        first, last = (offset * 8 + 5) // 6, (offset + len(raw)) * 8 // 6
        yield padded[first:last]
        yield padded[first:last].translate(bytes.maketrans(b"+/", b"-_"))


def scrub(content: bytes, secrets: Iterable[str]) -> bytes:
    """Return a text without secrets; the longest are removed first, so that no rest of a longer one remains."""
    known = {form for secret in secrets if len(secret) >= _LEAST for form in forms(secret) if len(form) >= _LEAST}
    for form in sorted(known, key=len, reverse=True):
        content = content.replace(form, _HIDDEN)
    for pattern in _PATTERNS:
        content = pattern.sub(_HIDDEN, content)
    return content
