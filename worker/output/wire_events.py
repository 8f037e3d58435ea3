"""Events as a worker sends them: encoded once, with a known size. An event that cannot be sent becomes ``dropped``.

Output is text if it is valid UTF-8 and short as JSON, else base64. JSON writes a control byte as six (``\\u0000``),
base64 writes three bytes as four.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

EVENT_BYTES = 1000 * 1024
"""Largest encoded event that is sent: below the 1 MiB that a server takes by default (ADO_EVENT_BYTES)."""
CHUNK_BYTES = 64 * 1024
BATCH_EVENTS = 1000
SOURCES = ("setup", "check")
"""Streams of the task's own commands, which are no streams of the agent."""


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What one server takes, as far as a worker uses it: bytes in a chunk of output, and events in a batch."""

    chunk_bytes: int = CHUNK_BYTES
    batch_events: int = BATCH_EVENTS

    @classmethod
    def of(cls, registration: Mapping[str, Any]) -> ServerLimits:
        """Read them from an answer of workers.register; a server of an older release does not name them."""
        return cls(
            min(CHUNK_BYTES, int(registration.get("eventBytes", CHUNK_BYTES))),
            min(BATCH_EVENTS, int(registration.get("batchEvents", BATCH_EVENTS))),
        )


@dataclass(slots=True)
class Encoded:
    """An event that is not output, as JSON text."""

    data: bytes

    @property
    def size(self) -> int:
        """Its encoded bytes."""
        return len(self.data)

    def wire(self) -> bytes:
        """Return its JSON."""
        return self.data


@dataclass(slots=True)
class Chunk:
    """Output of one stream, or of a setup or check by that name; ``text`` says whether it is valid UTF-8."""

    stream: str
    at: datetime
    data: bytearray
    text: bool

    @property
    def size(self) -> int:
        """Its bytes."""
        return len(self.data)

    def wire(self) -> bytes:
        """Return its JSON."""
        stream = {"stream": "stderr", "source": self.stream} if self.stream in SOURCES else {"stream": self.stream}
        event: dict[str, Any] = {"type": "output", **stream, "at": self.at.isoformat()}
        if self.text and not _shorter_as_base64(self.data):
            event["data"] = self.data.decode()
        else:
            event["data"] = base64.b64encode(self.data).decode()
            event["encoding"] = "base64"
        return orjson.dumps(event)


def _shorter_as_base64(data: bytearray) -> bool:
    # most output has few control bytes: counting them is cheaper than encoding twice
    controls = len(data) - len(data.translate(None, _CONTROLS))
    return controls * 5 > len(data) // 3 + len(',"encoding":"base64"')


_CONTROLS = bytes(byte for byte in range(0x20) if byte not in b"\b\t\n\f\r")
"""The bytes that JSON writes as six characters."""


def is_text(data: bytes) -> bool:
    """Whether bytes are valid UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def halves(event: bytes) -> list[bytes]:
    """Return an output event divided into two; an empty list if it cannot be divided."""
    if not event.startswith(b'{"type":"output"'):
        return []
    output = orjson.loads(event)
    data = base64.b64decode(output["data"]) if "encoding" in output else output["data"].encode()
    middle = len(data) // 2
    at = datetime.fromisoformat(output["at"])
    parts = [data[:middle], data[middle:]] if middle else []
    return [Chunk(output.get("source", output["stream"]), at, bytearray(part), is_text(part)).wire() for part in parts]


_UNSENDABLE = re.compile("[\x00\ud800-\udfff]")
_UNDECODED = range(0xDC80, 0xDD00)
"""The characters by which Python represents undecodable bytes of a file name, see PEP 383."""

_RESULT_CHARS = 100_000
DROPPED = b'{"type":"dropped",'


def encode(event: dict[str, Any], size: int = 0) -> Encoded:
    """Return an encoded event, or a ``dropped`` event if no server would accept it.

    ``size`` is the number of bytes that the event was made from; 0 if unknown.
    """
    try:
        data = orjson.dumps(event)
    except (TypeError, RecursionError):  # a lone surrogate, an integer above 64 bits, too many levels
        return dropped(size, "not_encodable")
    if len(data) > EVENT_BYTES:
        return dropped(len(data), "too_large")
    return Encoded(data)


def dropped(size: int, reason: str) -> Encoded:
    """Return an event that reports that ``size`` bytes could not be sent."""
    at = datetime.now(UTC).isoformat()
    return Encoded(orjson.dumps({"type": "dropped", "at": at, "bytes": size, "reason": reason}))


def clean_text(text: str | None, limit: int) -> str | None:
    """Return a text that JSON and Postgres accept: no lone surrogates, no NUL, without its middle beyond ``limit``.

    The system returns a file name that is not UTF-8 with lone surrogates; they become ``\\xNN``.
    """
    if text is None:
        return None
    clean = _UNSENDABLE.sub(_escaped, text)
    if len(clean) <= limit:
        return clean
    half = limit // 2
    return f"{clean[:half]} … {clean[-half:]}"


def result_that_fits(result: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return an agent's result as a server accepts it; if it is too large or not JSON, a part of its text."""
    if result is None or _encoded(result) is not None:
        return result
    return {"text": clean_text(str(result.get("text") or ""), _RESULT_CHARS), "cut": True}


def usage_that_fits(usage: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return an agent's usage, or None if no server would accept it."""
    data = _encoded(usage)
    return (
        None if data is None or b"\\u0000" in data else usage
    )  # the server stores it as JSONB, which cannot contain NUL


def _encoded(value: Any) -> bytes | None:
    try:
        data = orjson.dumps(value)
    except (TypeError, RecursionError):
        return None
    return data if len(data) <= EVENT_BYTES else None


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code & 0xFF:02x}" if code == 0 or code in _UNDECODED else f"\\u{code:04x}"
