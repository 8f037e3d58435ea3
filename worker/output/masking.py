"""Masks secrets in output: known values in many forms, and anything that looks like a token.

Every other byte stays the same. The result does not depend on how a stream is divided into reads: if the end of a read
may begin a secret, it is held back, at most a few thousand bytes, and for the time that ``Masker.patience`` says. If it
is then released too early, it leaks, and only the rest of that secret is masked. A token is held back until its head
and its shortest body are there; the rest of the token is dropped as it comes.

Known values are searched in the text without white space, and again in the text without escaped line ends, because
base64 output may be wrapped and then quoted as JSON. Fewer than ``_FEW_BYTES`` characters of a form before its first
line end are not masked; otherwise every line whose last character begins some form would be held back.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from itertools import compress

from ahocorasick_rs import BytesAhoCorasick, Implementation

from worker.output.secret_forms import SPACES, forms, unescaped

MASK = b"***"
_FEW_BYTES = 4
_FEW_BYTES_SECONDS, _MANY_BYTES_SECONDS = 0.05, 1.0
_SEED_BYTES = 12
_TURN_BYTES = 64 * 1024  # masking so many takes at most 12 ms
_QUICK_FORMS = 1000  # with more forms, the faster automaton takes too much memory and too long to build
_ESCAPES = re.compile(rb"\\+[nrt]?")
_KEEP = bytes(byte not in SPACES for byte in range(256))
_BODY = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
_TOKENS = {
    b"sk-ant-": 20, b"sk-proj-": 20, b"sk-": 32, b"ghp_": 36, b"gho_": 36, b"ghu_": 36, b"ghs_": 36, b"ghr_": 36,
    b"github_pat_": 40, b"glpat-": 20, b"xoxb-": 20, b"xoxp-": 20, b"npm_": 36, b"pypi-": 40, b"AIza": 35,
    b"hf_": 30, b"AKIA": 16, b"ASIA": 16, b"ado_": 43,
}  # fmt: skip
"""The heads of tokens, each with the least number of characters that follow it."""
_HEADS = tuple(_TOKENS)
_HEAD_FINDER = BytesAhoCorasick(_HEADS)
_ANY = re.compile(rb"[\w-]*", re.ASCII)
_CAPITALS = re.compile(rb"[A-Z0-9]*")
_IN_BASE64 = {b"AKIA": _CAPITALS, b"ASIA": _CAPITALS, b"AIza": _ANY}
"""Heads that any base64 text may contain, with the characters of their tokens. In base64 they are not masked."""
_LONGEST_BEGUN = max(len(head) + more for head, more in _TOKENS.items())

Span = tuple[int, int]


class Secrets:
    """Known secrets in every form that is searched; more may be added at any time."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._added: dict[bytes, int] = {}
        self._own = _Finder(_forms_of(values))
        self.finders: tuple[_Finder, ...] = (self._own,)

    def add(self, *values: str) -> None:
        """Mask more values from now on, also in streams that are being masked."""
        self._added |= _forms_of(values)
        self.finders = (self._own, _Finder(self._added))

    def mask(self, data: bytes) -> bytes:
        """Mask a whole text."""
        masker = Masker(self)
        return masker.feed(data) + masker.flush()

    async def mask_in_turns(self, data: bytes) -> bytes:
        """Mask a whole text; the event loop gets turns during a long one."""
        if len(data) <= _TURN_BYTES:
            return self.mask(data)
        masker, pieces = Masker(self), []
        for start in range(0, len(data), _TURN_BYTES):
            pieces.append(masker.feed(data[start : start + _TURN_BYTES]))
            await asyncio.sleep(0)
        return b"".join([*pieces, masker.flush()])

    def mask_text(self, text: str) -> str:
        """Mask a whole text for people."""
        return self.mask(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")

    def known_in(self, pieces: Iterable[bytes]) -> bool:
        """Whether the pieces together contain a known secret."""
        reach, tail = max(finder.reach for finder in self.finders), b""
        for piece in pieces:
            tail += piece
            if _known_and_begun(tail, self.finders)[0]:
                return True
            tail = tail[-reach:] if reach else b""
        return False


def _forms_of(values: Iterable[str]) -> dict[bytes, int]:
    found_forms: dict[bytes, int] = {}
    for value in values:
        found_forms |= forms(value)
    return found_forms


class _Finder:
    """Finds forms in texts without white space; ``reach`` is the longest text, with white space, that one may take.

    The automaton contains only the beginnings of forms, so it stays small for long secrets. The rest is compared.
    """

    def __init__(self, limits: dict[bytes, int]) -> None:
        self.limits = limits
        self.reach = max(limits.values(), default=0)
        beginnings: dict[bytes, list[bytes]] = {}
        for form in limits:
            beginnings.setdefault(form[:_SEED_BYTES], []).append(form)
        self._forms = list(beginnings.values())
        kind = Implementation.DFA if len(beginnings) <= _QUICK_FORMS else None
        self._automaton = BytesAhoCorasick(list(beginnings), implementation=kind) if beginnings else None
        self._begun = frozenset(form[:size] for form in limits for size in range(1, min(_SEED_BYTES, len(form))))

    def search(self, view: bytes) -> tuple[list[tuple[int, bytes]], list[int]]:
        """Return the positions of forms, and the positions from which the end of the text may begin one."""
        matches: list[tuple[int, bytes]] = []
        begun: list[int] = []
        if self._automaton is None:
            return matches, begun
        for number, start, _ in self._automaton.find_matches_as_indexes(view, overlapping=True):
            rest = len(view) - start
            for form in self._forms[number]:
                if view.startswith(form, start):
                    matches.append((start, form))
                elif rest < len(form) and form.startswith(view[start:]):
                    begun.append(start)
        shortest = range(min(_SEED_BYTES - 1, len(view)), 0, -1)
        begun += [len(view) - size for size in shortest if view[-size:] in self._begun]
        return matches, begun


NO_SECRETS = Secrets()
"""Masks only what looks like a token."""


class Masker:
    """Masks one stream."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._tail = b""
        """The end of the stream: first bytes that were released and may belong to a secret, then bytes held back."""
        self._released = 0
        """How many bytes of the tail were released."""
        self._masked = 0
        """Where the last mask ends in the tail. A secret that overlaps with it needs no mask of its own."""
        self._has_dropped = False
        """Whether anything came before the tail."""
        self._token_rest: re.Pattern[bytes] | None = None
        """The characters that continue the token masked last; None once it has ended."""

    @property
    def patience(self) -> float | None:
        """Seconds after which held bytes are to be flushed; None if none are held. A few bytes are rarely a secret."""
        held = len(self._tail) - self._released
        return None if not held else _FEW_BYTES_SECONDS if held < _FEW_BYTES else _MANY_BYTES_SECONDS

    def feed(self, data: bytes) -> bytes:
        """Add what was read; return what can be sent, masked."""
        whole = self._tail + data
        self._drop_token_rest(whole)
        ready, context = self._release(whole, self._token_begun(whole))
        # keep what may begin a secret, and one byte before it, which decides whether a token may begin there
        self._trim(whole, min(context, self._released) - 1)
        return ready

    def flush(self) -> bytes:
        """Return what is held back. If it begins a secret, the rest of that secret is masked all the same."""
        return self._release(self._tail, None)[0]

    def _release(self, whole: bytes, hold: int | None) -> tuple[bytes, int]:
        """Return what can be sent, masked, and the position from which ``whole`` is needed again.

        Bytes from ``hold`` on are held back; None holds back nothing.
        """
        known, begun, context = _known_and_begun(whole, self._secrets.finders)
        tokens, token_rest = self._tokens(whole)
        spans = merged([*known, *tokens])
        until = len(whole) if hold is None else min(hold, begun)
        # A form that begins within a mask can only extend it, so release the whole mask.
        until = next((stop for start, stop in spans if start <= until < stop), until)
        ready = self._render(whole, spans, until)
        if token_rest is not None and self._released == len(whole):
            self._token_rest = token_rest
        return ready, context

    def _drop_token_rest(self, whole: bytes) -> None:
        """Drop the rest of a token that was masked before."""
        if self._token_rest is not None:
            self._released = self._masked = _end(self._token_rest, whole, self._released)
            if self._released < len(whole):
                self._token_rest = None

    def _render(self, whole: bytes, spans: list[Span], hold: int) -> bytes:
        pieces = []
        for start, stop in spans:
            if stop <= self._released:
                continue
            if start >= hold:
                break
            if start >= self._masked:
                pieces += [whole[self._released : max(self._released, start)], MASK]
            self._released = self._masked = stop
        pieces.append(whole[self._released : hold])
        self._released = max(self._released, hold)
        return b"".join(pieces)

    def _trim(self, whole: bytes, start: int) -> None:
        back = max(0, start)
        self._has_dropped = self._has_dropped or back > 0
        self._tail, self._released, self._masked = whole[back:], self._released - back, self._masked - back

    def _tokens(self, whole: bytes) -> tuple[list[Span], re.Pattern[bytes] | None]:
        """Return the tokens, and the characters that may continue the one at the end."""
        spans: list[Span] = []
        token_rest = None
        for number, start, end in _HEAD_FINDER.find_matches_as_indexes(whole, overlapping=True):
            head = _HEADS[number]
            before = _BODY + b"+/" if head in _IN_BASE64 else _BODY
            if whole[start - 1] in before if start else self._has_dropped:
                continue
            body = _IN_BASE64.get(head, _ANY)
            stop = _end(body, whole, end)
            if stop - end >= _TOKENS[head]:
                spans.append((start, stop))
                token_rest = body if stop == len(whole) else token_rest
        return spans, token_rest

    def _token_begun(self, whole: bytes) -> int:
        """Return the position from which the text may begin a token; its length if there is none."""
        tail = whole[-_LONGEST_BEGUN - 1 :]
        run = tail[len(tail.rstrip(_BODY)) :]
        alone = len(run) < len(tail) or (len(tail) == len(whole) and not self._has_dropped)
        return len(whole) - len(run) if run and alone and may_be_token(run) else len(whole)


def _end(kind: re.Pattern[bytes], whole: bytes, start: int) -> int:
    match = kind.match(whole, start)
    return match.end() if match else start


def _known_and_begun(whole: bytes, finders: Iterable[_Finder]) -> tuple[list[Span], int, int]:
    """Return known secrets, the position from which to hold back, and the position from which to keep the text."""
    spans: list[Span] = []
    hold = context = len(whole)
    for finder in finders:
        if not finder.reach:
            continue
        for escapes in (False, True) if b"\\" in whole else (False,):
            view = unescaped(whole) if escapes else whole.translate(None, SPACES)
            matches, begun = finder.search(view)
            if matches:
                spans += _spans(matches, _positions(whole, escapes=escapes), finder, whole)
            starts = _form_starts(whole, len(view), begun, finder.reach, escapes=escapes)
            hold = min([hold, *(_mask_start(whole, start, len(whole)) for start in starts)])
            context = min([context, *starts])
    return spans, hold, context


def _form_starts(whole: bytes, size: int, begun: list[int], reach: int, *, escapes: bool) -> list[int]:
    """Return where the forms begin that the end of the text may begin; its view has ``size`` bytes."""
    if not begun:
        return []
    first = max(0, len(whole) - reach)  # a form that begins earlier would be longer than its limit
    at = _positions(whole[first:], escapes=escapes)
    return [first + at[index - size] for index in begun if size - index <= len(at)]


def _positions(whole: bytes, *, escapes: bool) -> list[int]:
    """Return the positions of the bytes that are left without white space, and without escapes if asked."""
    mask = bytearray(whole.translate(_KEEP))
    for escape in _ESCAPES.finditer(whole) if escapes else ():
        mask[escape.start() : escape.end()] = bytes(escape.end() - escape.start())
    return list(compress(range(len(whole)), mask))


def _spans(matches: list[tuple[int, bytes]], at: list[int], finder: _Finder, whole: bytes) -> list[Span]:
    """Return the spans of forms in the text, without those that take more than their limit."""
    spans = []
    for index, form in matches:
        start, stop = at[index], at[index + len(form) - 1] + 1
        if stop - start <= finder.limits[form]:
            spans.append((_mask_start(whole, start, stop), stop))
    return spans


def _mask_start(whole: bytes, start: int, stop: int) -> int:
    """Return where the mask of a form begins: after its first line end if only a few bytes come before that."""
    line_end = whole.find(b"\n", start, stop)
    if line_end < 0 or len(whole[start:line_end].translate(None, SPACES)) >= _FEW_BYTES:
        return start
    rest = whole[line_end:stop]
    return stop - len(rest.lstrip(SPACES))


def may_be_token(run: bytes) -> bool:
    """Whether these bytes may begin a token."""
    return any(
        head.startswith(run) or (run.startswith(head) and len(run) < len(head) + more) for head, more in _TOKENS.items()
    )


def merged(spans: list[Span]) -> list[Span]:
    """Return spans in order, with overlapping ones joined."""
    result: list[Span] = []
    for start, end in sorted(spans):
        if result and start < result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((start, end))
    return result
