"""``NAME=VALUE`` on the command line."""

from __future__ import annotations

from cli.errors import usage


def pair(entry: str, option: str) -> tuple[str, str]:
    """Return name and value. Raises CliError."""
    name, equals, value = entry.partition("=")
    if not name or not equals:
        raise usage(f"{option} {entry!r}: NAME=VALUE is wanted", f"example: {option} colour=blue")
    return name, value
