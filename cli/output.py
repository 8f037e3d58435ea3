"""stdout is data, stderr is talk."""

from __future__ import annotations

import sys
from typing import Any, Literal

import orjson

Output = Literal["text", "json", "jsonl", "name"]


def talk(line: str) -> None:
    """Say something to the person; not part of the data."""
    print(line, file=sys.stderr, flush=True)


def write_bytes(data: bytes) -> None:
    """Write data as it is."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def write_json(value: Any) -> None:
    """Write one JSON value on a line."""
    write_bytes(orjson.dumps(value) + b"\n")
