"""The options of ``ado up``: as arguments of its process, and compared with those of a running control plane."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from cli import exits
from cli.errors import CliError

DEFAULT_REPLICAS, DEFAULT_WORKERS = 1, 8


@dataclass(frozen=True, slots=True)
class PlaneOptions:
    """The options of a control plane; None for an option that is not used."""

    replicas: int | None = None
    port: int | None = None
    max_workers: int | None = None
    database: str | None = None
    """ADO_DSN without its password; None for the embedded one."""

    def arguments(self) -> list[str]:
        """Return them as arguments of ``ado up``."""
        options = (("--replicas", self.replicas), ("--port", self.port), ("--max-workers", self.max_workers))
        return [word for name, value in options if value is not None for word in (name, str(value))]

    def check(self, running: PlaneOptions, url: str) -> None:
        """Raise CliError that names each option in which a running control plane differs."""
        differences = [
            f"{name} {current} (asked for {asked})"
            for name, asked, current in (
                ("--replicas", self.replicas, running.replicas),
                ("--port", self.port or None, running.port),
                ("--max-workers", self.max_workers, running.max_workers),
                ("the database", self.database, running.database or "of its own"),
            )
            if asked is not None and asked != current
        ]
        if differences:
            raise CliError(
                f"a control plane runs already at {url}, with {', '.join(differences)}",
                f"to run it as asked, queued and running tasks go on: {self._restart(running)}",
                exits.FAILED,
                "runs_already",
            )

    def _restart(self, running: PlaneOptions) -> str:
        merged = PlaneOptions(
            replicas=self.replicas or _unless(running.replicas, DEFAULT_REPLICAS),
            port=self.port,
            max_workers=self.max_workers or _unless(running.max_workers, DEFAULT_WORKERS),
        )
        return f"ado down && ado up --detach {shlex.join(merged.arguments())}".rstrip()


def _unless(value: int | None, default: int) -> int | None:
    return None if value == default else value
