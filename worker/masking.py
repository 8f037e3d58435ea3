"""Secrets are masked before anything leaves the worker: known values, their base64 forms, and what looks like a token.

Every other byte passes unchanged. A secret may come in two reads, so the end of what was read is held back while it
may be the beginning of one: shortly when that is little, longer when it is much (``Masker.patience``). What was let go
in time and turns out to belong to a secret after all is lost to it, but the rest of that secret is masked. Of a token
only the head and the shortest body are waited for; the rest is swallowed as it comes.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable

MASK = b"***"
_SHORTEST = 6
"""Shorter values stand in too much that is no secret."""
_SHORTEST_FORM = 8
_LITTLE = 4
_SHORT_SECONDS, _LONG_SECONDS = 0.05, 5.0
_BODY = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
_TOKENS = {
    b"sk-ant-": 20, b"sk-proj-": 20, b"sk-": 32, b"ghp_": 36, b"gho_": 36, b"ghu_": 36, b"ghs_": 36, b"ghr_": 36,
    b"github_pat_": 40, b"glpat-": 20, b"xoxb-": 20, b"xoxp-": 20, b"npm_": 36, b"pypi-": 40, b"AIza": 35,
    b"hf_": 30, b"AKIA": 16, b"ASIA": 16, b"ado_": 43,
}  # fmt: skip
"""How tokens begin, and how many characters follow at least."""
_CAPITALS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_IN_BASE64 = {b"AKIA": _CAPITALS, b"ASIA": _CAPITALS, b"AIza": _BODY}
"""Heads that any base64 may hold, and what their tokens are made of: without more care, large output is changed."""
_LONGEST_BEGUN = max(len(head) + more for head, more in _TOKENS.items())

Span = tuple[int, int]


class Secrets:
    """Known secrets, in every form in which they are looked for."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        found = {form for value in values if len(value) >= _SHORTEST for form in forms(value)}
        self.forms = sorted(found, key=len, reverse=True)
        self.letters = b"".join(self.forms)
        """Every byte that stands in one."""

    def mask(self, data: bytes) -> bytes:
        """Mask a whole text."""
        masker = Masker(self)
        return masker.feed(data) + masker.let_go()


NO_SECRETS = Secrets()
"""Only what looks like a token is masked."""


def forms(value: str) -> set[bytes]:
    """Return a value as it is, as it stands in JSON, and the part of its base64 that its neighbours cannot change."""
    plain = value.encode("utf-8", "surrogateescape")
    found = {plain, plain.rstrip(b"\n"), json.dumps(value)[1:-1].encode()}
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + plain)
        inner = coded[-(-shift * 8 // 6) : (shift + len(plain)) * 8 // 6]
        for form in (inner, inner.translate(bytes.maketrans(b"+/", b"-_"))):
            if len(form) >= _SHORTEST_FORM:
                found.add(form)
    return found


class Masker:
    """Masks one stream."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._kept = b""
        """What is not decided yet, behind what was sent already and may belong to it."""
        self._sent = 0
        self._dropped = False
        """Whether anything came before what is kept."""
        self._swallowing = b""
        """What the token that was masked last may go on with; empty when it has ended."""

    @property
    def patience(self) -> float | None:
        """Seconds for which what is held back may be held; None when there is nothing."""
        held = len(self._kept) - self._sent
        return None if not held else _SHORT_SECONDS if held < _LITTLE else _LONG_SECONDS

    def feed(self, data: bytes) -> bytes:
        """Take what was read, and return what may be sent."""
        whole = self._kept + data
        known, (tokens, going_on) = self._known(whole), self._tokens(whole)
        spans = merged([*known, *tokens])
        begin = self._sent
        if self._swallowing:  # the token's mask stands already, also for a secret that begins in its tail
            begin += len(data) - len(data.lstrip(self._swallowing))
            begin = max([begin, *(stop for start, stop in spans if start < begin)])
        hold = min(self._secret_begun(whole, end_of(known)), self._token_begun(whole, end_of(spans)))
        ready = masked(whole, spans, begin, hold)
        sent = max([begin, hold, *(stop for start, stop in spans if start < hold)])
        self._swallowing = going_on or (self._swallowing if begin == len(whole) else b"")
        back = max(0, hold - 1)  # one byte more, to tell whether a token begins behind it
        self._dropped = self._dropped or back > 0
        self._kept, self._sent = whole[back:], sent - back
        return ready

    def let_go(self) -> bytes:
        """Return what was held back; the rest of a secret that it belongs to will be masked nevertheless."""
        ready, self._sent = self._kept[self._sent :], len(self._kept)
        return ready

    def _known(self, whole: bytes) -> list[Span]:
        spans = []
        for form in self._secrets.forms:
            start = whole.find(form)
            while start >= 0:
                spans.append((start, start + len(form)))
                start = whole.find(form, start + len(form))
        return spans

    def _tokens(self, whole: bytes) -> tuple[list[Span], bytes]:
        """Return what looks like a token, and what the one that reaches the end may go on with."""
        spans, going_on = [], b""
        for head, more in _TOKENS.items():
            body = _IN_BASE64.get(head, _BODY)
            before = _BODY + b"+/" if head in _IN_BASE64 else _BODY
            start = whole.find(head)
            while start >= 0:
                end = start + len(head)
                if whole[start - 1] not in before if start else not self._dropped:
                    end = len(whole) - len(whole[end:].lstrip(body))
                    if end - start >= len(head) + more:
                        spans.append((start, end))
                        going_on = body if end == len(whole) else going_on
                start = whole.find(head, end)
        return spans, going_on

    def _secret_begun(self, whole: bytes, after: int) -> int:
        """Return where the end begins that may be the beginning of a known secret: the length where nothing may."""
        begin = len(whole)
        if whole[-1:] not in self._secrets.letters:
            return begin
        for form in self._secrets.forms:
            at = whole.find(form[:1], max(after, len(whole) - len(form) + 1))
            while 0 <= at < begin:
                if form.startswith(whole[at:]):
                    begin = at
                at = whole.find(form[:1], at + 1)
        return begin

    def _token_begun(self, whole: bytes, after: int) -> int:
        """Return where the end begins that may be the beginning of a token: the length where nothing may."""
        tail = whole[max(after, len(whole) - _LONGEST_BEGUN - 1) :]
        run = tail[len(tail.rstrip(_BODY)) :]
        alone = len(run) < len(tail) or (len(tail) == len(whole) and not self._dropped)
        return len(whole) - len(run) if run and alone and may_be_token(run) else len(whole)


def may_be_token(run: bytes) -> bool:
    """Whether what begins so may become a token."""
    return any(
        head.startswith(run) or (run.startswith(head) and len(run) < len(head) + more) for head, more in _TOKENS.items()
    )


def end_of(spans: list[Span]) -> int:
    """Return where the last of some spans ends."""
    return max((stop for _, stop in spans), default=0)


def merged(spans: list[Span]) -> list[Span]:
    """Return spans in order, those that overlap as one."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start < found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def masked(whole: bytes, spans: list[Span], begin: int, end: int) -> bytes:
    """Return a part of a text with the spans in it masked; one that begins before the part counts with its rest."""
    pieces = []
    at = begin
    for start, stop in spans:
        if stop <= at or start >= end:
            continue
        pieces += [whole[at : max(at, start)], MASK]
        at = stop
    return b"".join([*pieces, whole[at:end]])
