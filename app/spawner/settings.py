"""Settings of a spawner: one frozen dataclass; each field is ``ADO_`` and its name in capitals."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field

from app.core.settings import SettingsError


@dataclass(frozen=True, slots=True)
class SpawnerSettings:
    """What a spawner runs with; each field is ``ADO_`` and its name in capitals."""

    dsn: str = ""
    """Postgres, as a libpq URI. Required."""
    url: tuple[str, ...] = ("http://127.0.0.1:7421",)
    """Origins of the API that its workers use, separated by commas."""
    max_workers: int = 8
    """Most workers at once."""
    idle_seconds: float = 60.0
    """Idle time after which a worker is ended."""
    start_seconds: float = 60.0
    """Time after which a worker that was requested and never registered is forgotten and requested again."""
    spawner_seconds: float = 0.2
    """Time between looks at the queue."""
    worker_capabilities: tuple[str, ...] = ("shell", "scripted")
    """Capabilities of its workers, separated by commas; local ones by default also offer AI agents that can start."""
    git_hosts: tuple[str, ...] = ()
    """Hosts from which its workers may fetch repositories by https or ssh, separated by commas."""
    work_dir: str = field(default_factory=lambda: f"{tempfile.gettempdir()}/ado-work-{os.getuid()}")
    """Where its workers make the directories of their jobs; an absolute path."""
    worker_stop_seconds: float = 15.0
    """How long its workers may take to end when it stops."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if not self.dsn:
            raise SettingsError("ADO_DSN is not set: name the database, e.g. postgresql://user@host/ado")
