"""Keeps a repository's own configuration from running programs in ado's git commands.

``.git/config`` is part of the directory, which may come from anybody. Its filters, merge drivers and other programs
would run as the user. Each such key gets the value of the user's own configuration, or none. A user who wants a
repository's filters and merge drivers names it: ``git config --global --add ado.trustedRepository PATH``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

TRUSTED = "ado.trustedrepository"
_OWN_SCOPES = frozenset({"local", "worktree"})
_CONTENT = {
    r"filter\..*\.(?:clean|smudge|process)": "",
    r"filter\..*\.required": "false",
    r"merge\..*\.driver": "false",  # a driver that fails is a conflict; one that does nothing would lose a side
}
"""Keys that say how files are read and written, with the value that turns each off."""
_PROGRAMS = {
    r"core\.sshcommand": "ssh",
    r"core\.gitproxy": "",
    r"core\.alternaterefscommand": "true",
    r"credential\.(?:.*\.)?helper": "",
    r"diff\..*\.(?:textconv|command)": "false",
    r"gpg\.(?:.*\.)?(?:program|defaultkeycommand)": "false",
    r"hook\..*\.command": "true",
    r"hook\..*\.enabled": "false",
    r"http\.(?:.*\.)?savecookies": "false",
}
"""Keys that name programs or files for git itself."""

Config = Mapping[tuple[str, str], list[str]]
"""The values of each scope and key."""


def read_config(listing: bytes) -> Config:
    """Read what ``git config --list --show-scope -z`` prints."""
    config: dict[tuple[str, str], list[str]] = {}
    parts = listing.decode("utf-8", "surrogateescape").split("\0")
    for scope, entry in zip(parts[::2], parts[1::2], strict=False):
        key, _, value = entry.partition("\n")
        config.setdefault((scope, key), []).append(value)
    return config


def is_trusted(config: Config, top: str) -> bool:
    """Whether the user's own configuration names a repository, or all of them by ``*``."""
    named = [value for (scope, key), values in config.items()
             if key == TRUSTED and scope not in _OWN_SCOPES for value in values]  # fmt: skip
    return "*" in named or top in named


def overrides(config: Config, *, trusted: bool) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the settings that disable the repository's own programs, and those of their keys that are filters."""
    settings: list[tuple[str, str]] = []
    filters: list[str] = []
    for key, neutral in _dangerous(config, trusted=trusted):
        users = _user_values(config, key)
        settings += [(key, value) for value in (neutral, *users)]
        if _matches(_CONTENT, key) and _repository_values(config, key) != users:
            filters.append(key)
    return settings, filters


def environment(settings: list[tuple[str, str]], surrounding: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that pass these settings to git after all others; a key may contain any character."""
    first = int(surrounding.get("GIT_CONFIG_COUNT") or 0)
    variables = {"GIT_CONFIG_COUNT": str(first + len(settings))}
    for number, (key, value) in enumerate(settings, first):
        variables |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return variables


def _dangerous(config: Config, *, trusted: bool) -> Iterator[tuple[str, str]]:
    patterns = _PROGRAMS if trusted else {**_PROGRAMS, **_CONTENT}
    for key in dict.fromkeys(key for scope, key in config if scope in _OWN_SCOPES):
        for pattern, neutral in patterns.items():
            if re.fullmatch(pattern, key):
                yield key, neutral


def _matches(patterns: Iterable[str], key: str) -> bool:
    return any(re.fullmatch(pattern, key) for pattern in patterns)


def _repository_values(config: Config, key: str) -> list[str]:
    return [value for scope in sorted(_OWN_SCOPES) for value in config.get((scope, key), [])]


def _user_values(config: Config, key: str) -> list[str]:
    """Return the user's own values of a key, in git's order."""
    return [value for (scope, name), values in config.items()
            if name == key and scope not in _OWN_SCOPES for value in values]  # fmt: skip
