"""What every git command of ado has in common, in the CLI and in the worker, and the headers of bundles.

Nothing in a repository is executed: hooks, fsmonitor, editors, signing programs, pagers and submodules are off. Every
transferred object is checked. Only https and ssh leave the machine, and git never asks for a password.
``worker.repository.git`` adds that no configuration but its own is read. ``cli.repository.git`` runs in the user's
repository with the user's configuration, because its filters and line ends are the user's own.

A bundle has git's own format, version 2. Its header is read here, its pack by ``git index-pack --strict``, because
``git bundle unbundle`` checks no objects before git 2.46.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import IO
from urllib.parse import urlsplit, urlunsplit

OLDEST = (2, 32)
"""The oldest git that knows all of these settings."""
PROTOCOLS = "https:ssh"
SETTINGS: Mapping[str, str] = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.untrackedCache": "false",
    "core.bigFileThreshold": "32m",  # git streams larger files instead of holding them in memory
    "core.pager": "cat",
    "core.editor": "false",
    "core.askPass": "false",
    "core.protectHFS": "true",
    "core.protectNTFS": "true",
    "transfer.fsckObjects": "true",
    "fetch.fsckObjects": "true",
    "fetch.recurseSubmodules": "false",
    "submodule.recurse": "false",
    "diff.ignoreSubmodules": "all",
    "apply.whitespace": "nowarn",  # anything else refuses a result, or changes it
    "apply.ignoreWhitespace": "no",
    "core.safecrlf": "false",
    "commit.gpgSign": "false",
    "tag.gpgSign": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "advice.detachedHead": "false",
}
ENVIRONMENT: Mapping[str, str] = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ALLOW_PROTOCOL": PROTOCOLS,
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_EDITOR": "false",
    "LC_ALL": "C",
}
IMPORT_PACK = ("index-pack", "--strict", "--fix-thin", "--stdin")
"""Checks the objects of a pack on stdin, and stores them."""
EXPORT_PACK = ("pack-objects", "--revs", "--thin", "--stdout", "-q", "--delta-base-offset")
"""Writes the pack of the commits on stdin, without the objects of commits that begin with ``^``."""
_ERROR_CHARS = 1000
_ERROR_NAMES = 5
_SIGNATURE = b"# v2 git bundle\n"
_HEADER_BYTES = 1024 * 1024
_SECRET_NAMES = (
    ".env", ".env.*", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "id_rsa*", "id_dsa*",
    "id_ecdsa*", "id_ed25519*", ".netrc", "_netrc", ".git-credentials", ".npmrc", ".pypirc", ".pgpass", ".htpasswd",
    "credentials", "credentials.json", "service-account*.json", "kubeconfig", ".vault-token",
)  # fmt: skip
_NO_SECRETS = (".env.example", ".env.sample", ".env.template", "*.pub")


_ESCAPES = {'"': '\\"', "\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
_UNPRINTABLE = re.compile(r'["\\\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\udc80-\udcff]')


class GitError(Exception):
    """A git command failed, or its output is not valid; the message is one line for a person."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """The header of a bundle: the commits it needs, the commits it contains, and the offset of its pack."""

    prerequisites: tuple[str, ...]
    heads: tuple[tuple[str, str], ...]
    """Commit and name of each ref."""
    offset: int


def arguments(settings: Mapping[str, str] = SETTINGS) -> list[str]:
    """Return the options that set a configuration for one git command; every command has the default ones."""
    return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]


def describe_failure(command: str, errors: bytes) -> str:
    """Return the error that a git command wrote, as one line, with the first paths that git lists below it."""
    lines = [line for line in errors.decode("utf-8", "replace").splitlines() if line.strip()] or ["it failed"]
    first = next((index for index, line in enumerate(lines) if line.startswith(("fatal:", "error:"))), len(lines) - 1)
    paths = [line.strip() for line in takewhile(lambda line: line.startswith("\t"), lines[first + 1 :])]
    return " ".join([f"git {command}: {lines[first]}", ", ".join(paths[:_ERROR_NAMES])]).strip()[:_ERROR_CHARS]


def require_version(output: bytes) -> None:
    """Raise GitError unless the output of ``git version`` names a version that is new enough."""
    match = re.search(rb"(\d+)\.(\d+)", output)
    if match is None or (int(match[1]), int(match[2])) < OLDEST:
        needed = ".".join(map(str, OLDEST))
        raise GitError(f"{output.decode('utf-8', 'replace').strip()} is too old; {needed} or newer is needed")


def write_header(file: IO[bytes], heads: Iterable[tuple[str, str]], prerequisites: tuple[str, ...]) -> None:
    """Begin a bundle of some heads, each a commit and the name of a ref; the pack follows."""
    lines = [f"-{name}\n" for name in prerequisites] + [f"{commit} {ref}\n" for commit, ref in heads] + ["\n"]
    file.write(_SIGNATURE + "".join(lines).encode())


def read_header(file: IO[bytes]) -> Bundle:
    """Read a bundle's header and leave the file where the pack begins. Raises GitError."""
    if file.readline(_HEADER_BYTES) != _SIGNATURE:
        raise GitError("this is not a bundle of version 2")
    prerequisites, heads = [], []
    while (line := file.readline(_HEADER_BYTES)) != b"\n":
        match = re.fullmatch(rb"(-?)([0-9a-f]{40}|[0-9a-f]{64})(?: ([^\n]*))?\n", line)
        if match is None or file.tell() > _HEADER_BYTES:
            raise GitError("the bundle's header cannot be read")
        name = match[2].decode()
        if match[1]:
            prerequisites.append(name)
        else:
            heads.append((name, (match[3] or b"").decode("utf-8", "replace")))
    return Bundle(tuple(prerequisites), tuple(heads), file.tell())


def looks_secret(path: str) -> bool:
    """Whether a file's name says that it holds a secret."""
    name = path.rpartition("/")[2].lower()
    if any(fnmatch.fnmatchcase(name, pattern) for pattern in _NO_SECRETS):
        return False
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in _SECRET_NAMES)


def quoted(path: str | bytes) -> str:
    """Return a path as git prints it: quoted like a C string if it has control characters or is not UTF-8."""
    raw = os.fsencode(path) if isinstance(path, str) else path
    text = raw.decode("utf-8", "surrogateescape")
    if not _UNPRINTABLE.search(text):
        return text
    return '"' + _UNPRINTABLE.sub(_escape, text) + '"'


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if character in _ESCAPES:
        return _ESCAPES[character]
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", "surrogateescape"))


def listed(paths: Sequence[str | bytes], limit: int = 10) -> str:
    """Return the first paths for a message, and the number of the others."""
    shown = ", ".join(quoted(path) for path in paths[:limit])
    return shown if len(paths) <= limit else f"{shown} and {len(paths) - limit} more"


def public_url(url: str) -> str | None:
    """Return a remote's address without credentials, as https:// or ssh://; None for any other kind."""
    if match := re.fullmatch(r"(?:([\w.-]+)@)?([\w.-]+\.[\w.-]+):(?!/)([^\s]+)", url):  # the form that scp uses for ssh
        user = f"{match[1]}@" if match[1] else ""
        return f"ssh://{user}{match[2]}/{match[3]}"
    parts = urlsplit(url)
    if parts.scheme not in ("https", "ssh") or not parts.hostname:
        return None
    host = parts.hostname if parts.port is None else f"{parts.hostname}:{parts.port}"
    user = f"{parts.username}@" if parts.scheme == "ssh" and parts.username else ""
    return urlunsplit((parts.scheme, user + host, parts.path, "", ""))


def host_of(url: str) -> str:
    """Return the host of an address, with the port if there is one."""
    return urlsplit(url).netloc.rpartition("@")[2].lower()


def clean_name(text: str) -> str:
    """Return a text with everything removed that the name of a branch may not contain."""
    name = re.sub(r"[^\w./-]+", "-", text).strip("-./")
    return re.sub(r"\.{2,}|/{2,}|\.lock\b|/\.", "-", name) or "main"
