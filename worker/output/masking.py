"""Secrets are masked before anything leaves the worker: known values in many forms, and what looks like a token.

Every other byte passes unchanged. Masking a stream gives what masking the whole would give, however the stream is
divided into reads: the end of a read that may be the beginning of a secret is held back, shortly when it is little,
longer when it is much (``Masker.patience``), and never more than a few thousand bytes. What was let go in time and
turns out to belong to a secret after all is sent; only the rest of that secret is masked. Of a token, the head and the
shortest body are waited for; the rest is dropped as it comes.

Known values are looked for in the text without white space, and once more without the escapes of line ends, as in a
base64 text that ``base64`` wrapped and JSON quoted. Fewer than ``_TRIFLE`` characters of a form before its first line
end are not masked: else every line whose last character begins some form would be held back.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from itertools import compress

from ahocorasick_rs import BytesAhoCorasick, Implementation

from worker.output.secret_forms import SPACES, forms, unescaped

MASK = b"***"
_TRIFLE = 4
_SHORT_SECONDS, _LONG_SECONDS = 0.05, 1.0
_SEED_BYTES = 12
_TURN_BYTES = 64 * 1024  # at worst 12 ms
_QUICK_FORMS = 1000  # up to so many the faster automaton is worth its memory and its slower start
_ESCAPES = re.compile(rb"\\+[nrt]?")
_KEEP = bytes(byte not in SPACES for byte in range(256))
_BODY = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
_TOKENS = {
    b"sk-ant-": 20, b"sk-proj-": 20, b"sk-": 32, b"ghp_": 36, b"gho_": 36, b"ghu_": 36, b"ghs_": 36, b"ghr_": 36,
    b"github_pat_": 40, b"glpat-": 20, b"xoxb-": 20, b"xoxp-": 20, b"npm_": 36, b"pypi-": 40, b"AIza": 35,
    b"hf_": 30, b"AKIA": 16, b"ASIA": 16, b"ado_": 43,
}  # fmt: skip
"""How tokens begin, and how many characters follow at least."""
_HEADS = tuple(_TOKENS)
_HEAD_FINDER = BytesAhoCorasick(_HEADS)
_ANY = re.compile(rb"[\w-]*", re.ASCII)
_CAPITALS = re.compile(rb"[A-Z0-9]*")
_IN_BASE64 = {b"AKIA": _CAPITALS, b"ASIA": _CAPITALS, b"AIza": _ANY}
"""Heads that any base64 may hold, and what their tokens are made of: without more care, large output is changed."""
_LONGEST_BEGUN = max(len(head) + more for head, more in _TOKENS.items())

Span = tuple[int, int]


class Secrets:
    """Known secrets, in every form in which they are looked for; more may be added at any time."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._added: dict[bytes, int] = {}
        self._own = _Finder(_all_forms(values))
        self.finders: tuple[_Finder, ...] = (self._own,)

    def add(self, *values: str) -> None:
        """Mask more values from now on, also in streams that are being masked."""
        self._added |= _all_forms(values)
        self.finders = (self._own, _Finder(self._added))

    def mask(self, data: bytes) -> bytes:
        """Mask a whole text."""
        masker = Masker(self)
        return masker.feed(data) + masker.let_go()

    async def mask_in_turns(self, data: bytes) -> bytes:
        """Mask a whole text, with turns for other work in between when it is long."""
        if len(data) <= _TURN_BYTES:
            return self.mask(data)
        masker, pieces = Masker(self), []
        for start in range(0, len(data), _TURN_BYTES):
            pieces.append(masker.feed(data[start : start + _TURN_BYTES]))
            await asyncio.sleep(0)
        return b"".join([*pieces, masker.let_go()])

    def mask_text(self, text: str) -> str:
        """Mask a whole text that people read."""
        return self.mask(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")

    def known_in(self, pieces: Iterable[bytes]) -> bool:
        """Whether the content that the pieces make up holds a known secret."""
        reach, kept = max(finder.reach for finder in self.finders), b""
        for piece in pieces:
            kept += piece
            if _known_and_begun(kept, self.finders)[0]:
                return True
            kept = kept[-reach:] if reach else b""
        return False


def _all_forms(values: Iterable[str]) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    for value in values:
        found |= forms(value)
    return found


class _Finder:
    """Finds forms in texts without white space; ``reach`` is the longest text in which one may be spread out.

    The automaton holds only how forms begin; the rest is compared. So it stays small for long secrets.
    """

    def __init__(self, wanted: dict[bytes, int]) -> None:
        self.limits = wanted
        self.reach = max(wanted.values(), default=0)
        beginnings: dict[bytes, list[bytes]] = {}
        for form in wanted:
            beginnings.setdefault(form[:_SEED_BYTES], []).append(form)
        self._forms = list(beginnings.values())
        kind = Implementation.DFA if len(beginnings) <= _QUICK_FORMS else None
        self._automaton = BytesAhoCorasick(list(beginnings), implementation=kind) if beginnings else None
        self._begun = frozenset(form[:size] for form in wanted for size in range(1, min(_SEED_BYTES, len(form))))

    def search(self, view: bytes) -> tuple[list[tuple[int, bytes]], list[int]]:
        """Return where forms stand, and where the end may be the beginning of one."""
        found: list[tuple[int, bytes]] = []
        begun: list[int] = []
        if self._automaton is None:
            return found, begun
        for number, start, _ in self._automaton.find_matches_as_indexes(view, overlapping=True):
            rest = len(view) - start
            for form in self._forms[number]:
                if view.startswith(form, start):
                    found.append((start, form))
                elif rest < len(form) and form.startswith(view[start:]):
                    begun.append(start)
        shortest = range(min(_SEED_BYTES - 1, len(view)), 0, -1)
        begun += [len(view) - size for size in shortest if view[-size:] in self._begun]
        return found, begun


NO_SECRETS = Secrets()
"""Only what looks like a token is masked."""


class Masker:
    """Masks one stream."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._kept = b""
        """What is not decided yet, behind what was sent already and may belong to it."""
        self._sent = 0
        """How much of what is kept was sent."""
        self._masked = 0
        """Where in what is kept the last mask ends: what overlaps with it needs no mask of its own."""
        self._dropped = False
        """Whether anything came before what is kept."""
        self._swallowing: re.Pattern[bytes] | None = None
        """What the token that was masked last may go on with; None when it has ended."""

    @property
    def patience(self) -> float | None:
        """Seconds for which what is held back may be held; None when there is nothing."""
        held = len(self._kept) - self._sent
        return None if not held else _SHORT_SECONDS if held < _TRIFLE else _LONG_SECONDS

    def feed(self, data: bytes) -> bytes:
        """Take what was read, and return what may be sent."""
        whole = self._kept + data
        self._swallow(whole)
        ready, context = self._send(whole, self._token_begun(whole))
        self._forget(whole, min(context, self._sent) - 1)  # one byte more, to tell whether a token begins behind it
        return ready

    def let_go(self) -> bytes:
        """Return what was held back; the rest of a secret that it belongs to will be masked nevertheless."""
        return self._send(self._kept, None)[0]

    def _send(self, whole: bytes, hold: int | None) -> tuple[bytes, int]:
        """Return what may be sent, masked, and from where on the whole is needed again; ``hold`` None: all of it."""
        known, begun, context = _known_and_begun(whole, self._secrets.finders)
        tokens, going_on = self._tokens(whole)
        spans = merged([*known, *tokens])
        until = len(whole) if hold is None else min(hold, begun)
        # What has begun within a mask can only make it longer; a mask that touches its end may become part of it.
        until = next((stop for start, stop in spans if start <= until < stop), until)
        ready = self._masked_until(whole, spans, until)
        if going_on is not None and self._sent == len(whole):
            self._swallowing = going_on
        return ready, context

    def _swallow(self, whole: bytes) -> None:
        """Drop what a masked token goes on with."""
        if self._swallowing is not None:
            self._sent = self._masked = _end(self._swallowing, whole, self._sent)
            if self._sent < len(whole):
                self._swallowing = None

    def _masked_until(self, whole: bytes, spans: list[Span], hold: int) -> bytes:
        pieces = []
        for start, stop in spans:
            if stop <= self._sent:
                continue
            if start >= hold:
                break
            if start >= self._masked:
                pieces += [whole[self._sent : max(self._sent, start)], MASK]
            self._sent = self._masked = stop
        pieces.append(whole[self._sent : hold])
        self._sent = max(self._sent, hold)
        return b"".join(pieces)

    def _forget(self, whole: bytes, start: int) -> None:
        back = max(0, start)
        self._dropped = self._dropped or back > 0
        self._kept, self._sent, self._masked = whole[back:], self._sent - back, self._masked - back

    def _tokens(self, whole: bytes) -> tuple[list[Span], re.Pattern[bytes] | None]:
        """Return what looks like a token, and what the one that reaches the end may go on with."""
        spans: list[Span] = []
        going_on = None
        for number, start, end in _HEAD_FINDER.find_matches_as_indexes(whole, overlapping=True):
            head = _HEADS[number]
            before = _BODY + b"+/" if head in _IN_BASE64 else _BODY
            if whole[start - 1] in before if start else self._dropped:
                continue
            body = _IN_BASE64.get(head, _ANY)
            stop = _end(body, whole, end)
            if stop - end >= _TOKENS[head]:
                spans.append((start, stop))
                going_on = body if stop == len(whole) else going_on
        return spans, going_on

    def _token_begun(self, whole: bytes) -> int:
        """Return where the end begins that may be the beginning of a token: the length where nothing may."""
        tail = whole[-_LONGEST_BEGUN - 1 :]
        run = tail[len(tail.rstrip(_BODY)) :]
        alone = len(run) < len(tail) or (len(tail) == len(whole) and not self._dropped)
        return len(whole) - len(run) if run and alone and may_be_token(run) else len(whole)


def _end(kind: re.Pattern[bytes], whole: bytes, start: int) -> int:
    found = kind.match(whole, start)
    return found.end() if found else start


def _known_and_begun(whole: bytes, finders: Iterable[_Finder]) -> tuple[list[Span], int, int]:
    """Return known secrets, from where on the end is held back, and from where on it is needed again."""
    spans: list[Span] = []
    hold = context = len(whole)
    for finder in finders:
        if not finder.reach:
            continue
        for escapes in (False, True) if b"\\" in whole else (False,):
            view = unescaped(whole) if escapes else whole.translate(None, SPACES)
            found, begun = finder.search(view)
            if found:
                spans += _spans(found, _places(whole, escapes=escapes), finder, whole)
            starts = _starts(whole, len(view), begun, finder.reach, escapes=escapes)
            hold = min([hold, *(_masked_from(whole, start, len(whole)) for start in starts)])
            context = min([context, *starts])
    return spans, hold, context


def _starts(whole: bytes, size: int, begun: list[int], reach: int, *, escapes: bool) -> list[int]:
    """Return where in the whole the forms begin that its end may go on with; a view of it has ``size`` bytes."""
    if not begun:
        return []
    first = max(0, len(whole) - reach)  # what begins before is spread out too far
    at = _places(whole[first:], escapes=escapes)
    return [first + at[index - size] for index in begun if size - index <= len(at)]


def _places(whole: bytes, *, escapes: bool) -> list[int]:
    """Return where the bytes of a text without white space, and without escapes, stand in the whole."""
    kept = bytearray(whole.translate(_KEEP))
    for escape in _ESCAPES.finditer(whole) if escapes else ():
        kept[escape.start() : escape.end()] = bytes(escape.end() - escape.start())
    return list(compress(range(len(whole)), kept))


def _spans(found: list[tuple[int, bytes]], at: list[int], finder: _Finder, whole: bytes) -> list[Span]:
    """Return where forms stand in the whole, but for those that are spread out too far."""
    spans = []
    for index, form in found:
        start, stop = at[index], at[index + len(form) - 1] + 1
        if stop - start <= finder.limits[form]:
            spans.append((_masked_from(whole, start, stop), stop))
    return spans


def _masked_from(whole: bytes, start: int, stop: int) -> int:
    """Return where the mask of a form begins: behind its first line end if nearly nothing stands before that."""
    line_end = whole.find(b"\n", start, stop)
    if line_end < 0 or len(whole[start:line_end].translate(None, SPACES)) >= _TRIFLE:
        return start
    rest = whole[line_end:stop]
    return stop - len(rest.lstrip(SPACES))


def may_be_token(run: bytes) -> bool:
    """Whether what begins so may become a token."""
    return any(
        head.startswith(run) or (run.startswith(head) and len(run) < len(head) + more) for head, more in _TOKENS.items()
    )


def merged(spans: list[Span]) -> list[Span]:
    """Return spans in order, those that overlap as one."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start < found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found
