"""The secrets that a worker holds for jobs that name them; their values never travel through the API.

A secret is a file of ``ADO_SECRETS_DIR`` (as a cluster mounts them) or a variable of the worker's own environment that
``ADO_SECRETS`` names. It is the capability ``secret:NAME``. A worker without a list of capabilities offers all its
secrets, a worker with a list only those in it. A job that requires a secret gets it as the variable NAME. Every value
is masked, offered or not, unless it is too short. A value that no environment variable can hold is masked, not offered.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from worker.output.secret_forms import SHORTEST, is_short
from worker.settings import WorkerSettings

PREFIX = "secret:"
"""The prefix of a secret's capability."""
_LONGEST = 128 * 1024  # with its name, on Linux
_NAME = re.compile(r"(?!ADO_)[A-Za-z_][A-Za-z0-9_]*")


class SecretStore:
    """Secrets by name, and other values to mask."""

    def __init__(self, held: Mapping[str, str], others: Iterable[str] = ()) -> None:
        self._held = dict(held)
        self._others = tuple(others)
        self._unusable = {name: why for name, value in held.items() if (why := _unusable(name, value))}

    @property
    def capabilities(self) -> list[str]:
        """The capabilities of the secrets that a job can get."""
        return [f"{PREFIX}{name}" for name in sorted(self._held) if name not in self._unusable]

    @property
    def values(self) -> list[str]:
        """Every value to mask."""
        return [*self._held.values(), *self._others]

    def hide(self, value: str) -> None:
        """Add a value to mask."""
        self._others = (*self._others, value)

    def variables_for(self, requires: Iterable[str]) -> dict[str, str]:
        """Return the variables of the secrets that a job requires. Raises KeyError for an unknown one."""
        names = [entry.removeprefix(PREFIX) for entry in requires if entry.startswith(PREFIX)]
        return {name: self._held[name] for name in names}

    def unmasked(self, names: Iterable[str]) -> list[str]:
        """Return a warning for each secret that is too short to be masked."""
        return [
            f"the secret {name} is shorter than {SHORTEST} bytes and is not masked"
            for name in names
            if name in self._held and is_short(self._held[name])
        ]

    def why_not(self, capability: str) -> str:
        """Return why a known secret cannot be offered; empty if it can, or is unknown."""
        return self._unusable.get(capability.removeprefix(PREFIX), "")

    def warnings(self) -> list[str]:
        """Return a warning for each secret that is not offered or not masked."""
        unfit = [f"the secret {name} is not offered: {why}" for name, why in sorted(self._unusable.items())]
        return [*unfit, *self.unmasked(sorted(self._held))]


def _unusable(name: str, value: str) -> str:
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
