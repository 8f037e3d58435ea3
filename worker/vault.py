"""The secrets that a worker holds for jobs that name them; their values never travel through the API.

A secret is a file of ``ADO_SECRETS_DIR`` (as a cluster mounts them) or a variable of the worker's own environment that
``ADO_SECRETS`` names. A worker offers each as the capability ``secret:NAME``; a job that requires it finds the value
in its environment under that name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from worker.settings import WorkerSettings

PREFIX = "secret:"
"""How the capability of a secret begins."""
_NAME = re.compile(r"(?!ADO_)[A-Za-z_][A-Za-z0-9_]*")


class Vault:
    """Secrets by name, and other values that must not be told."""

    def __init__(self, held: Mapping[str, str], others: Iterable[str] = ()) -> None:
        self._held = dict(held)
        self._others = tuple(others)

    @property
    def capabilities(self) -> list[str]:
        """What a worker that holds them offers."""
        return [f"{PREFIX}{name}" for name in sorted(self._held)]

    @property
    def values(self) -> list[str]:
        """Every value that must not be told."""
        return [*self._held.values(), *self._others]

    def lend(self, requires: Iterable[str]) -> dict[str, str]:
        """Return the variables of a job that requires secrets. Raises KeyError for one that is not held."""
        names = [entry.removeprefix(PREFIX) for entry in requires if entry.startswith(PREFIX)]
        return {name: self._held[name] for name in names}


def read(settings: WorkerSettings, *others: str) -> Vault:
    """Read the secrets that a worker's settings name. Raises OSError."""
    held = {name: os.environ[name] for name in settings.secrets if name in os.environ and _NAME.fullmatch(name)}
    if settings.secrets_dir:
        for file in sorted(Path(settings.secrets_dir).iterdir()):
            if file.is_file() and _NAME.fullmatch(file.name):
                held[file.name] = file.read_text("utf-8", "surrogateescape").removesuffix("\n")
    return Vault(held, others)
