"""The secrets that a worker holds for jobs that name them; their values never travel through the API.

A secret is a file of ``ADO_SECRETS_DIR`` (as a cluster mounts them) or a variable of the worker's own environment that
``ADO_SECRETS`` names. A worker without a list of capabilities offers each as ``secret:NAME``, one with a list those it
names; a job that requires it finds the value in its environment under that name. Every value is masked, offered or not,
unless it is too short. A value that no environment variable can hold is masked, but not offered.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from worker.output.secret_forms import SHORTEST, is_short
from worker.settings import WorkerSettings

PREFIX = "secret:"
"""How the capability of a secret begins."""
_LONGEST = 128 * 1024  # with its name, on Linux
_NAME = re.compile(r"(?!ADO_)[A-Za-z_][A-Za-z0-9_]*")


class SecretStore:
    """Secrets by name, and other values that must not be told."""

    def __init__(self, held: Mapping[str, str], others: Iterable[str] = ()) -> None:
        self._held = dict(held)
        self._others = tuple(others)
        self._unfit = {name: why for name, value in held.items() if (why := _unfit(name, value))}

    @property
    def capabilities(self) -> list[str]:
        """What a worker that holds them may offer."""
        return [f"{PREFIX}{name}" for name in sorted(self._held) if name not in self._unfit]

    @property
    def values(self) -> list[str]:
        """Every value that must not be told."""
        return [*self._held.values(), *self._others]

    def hide(self, value: str) -> None:
        """Add a value that must not be told."""
        self._others = (*self._others, value)

    def lend(self, requires: Iterable[str]) -> dict[str, str]:
        """Return the variables of a job that requires secrets. Raises KeyError for one that is not held."""
        names = [entry.removeprefix(PREFIX) for entry in requires if entry.startswith(PREFIX)]
        return {name: self._held[name] for name in names}

    def unmasked(self, names: Iterable[str]) -> list[str]:
        """Say of which secrets the value is not masked."""
        return [
            f"the secret {name} is shorter than {SHORTEST} bytes and is not masked"
            for name in names
            if name in self._held and is_short(self._held[name])
        ]

    def why_not(self, capability: str) -> str:
        """Say why a secret that is held cannot be offered; empty when it can, or is not held."""
        return self._unfit.get(capability.removeprefix(PREFIX), "")

    def warnings(self) -> list[str]:
        """Say which secrets are not offered, or not masked."""
        unfit = [f"the secret {name} is not offered: {why}" for name, why in sorted(self._unfit.items())]
        return [*unfit, *self.unmasked(sorted(self._held))]


def _unfit(name: str, value: str) -> str:
    if "\0" in value:
        return "it has a NUL byte, which no environment variable can hold"
    size = len(f"{name}={value}".encode("utf-8", "surrogateescape"))
    return f"its {size} bytes are more than an environment variable can hold" if size >= _LONGEST else ""


def read(settings: WorkerSettings, *others: str) -> SecretStore:
    """Read the secrets that a worker's settings name. Raises OSError."""
    held = {name: os.environ[name] for name in settings.secrets if name in os.environ and _NAME.fullmatch(name)}
    if settings.secrets_dir:
        for file in sorted(Path(settings.secrets_dir).iterdir()):
            if file.is_file() and _NAME.fullmatch(file.name):
                held[file.name] = file.read_text("utf-8", "surrogateescape").removesuffix("\n")
    return SecretStore(held, others)
