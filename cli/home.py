"""Where state and configuration live: all under ADO_HOME when that is set, else the platform's data directory."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def home() -> Path:
    """Return the directory of the embedded control plane's state."""
    if chosen := os.environ.get("ADO_HOME"):
        return Path(chosen).expanduser().absolute()
    if os.geteuid() == 0 and sys.platform == "linux":
        return Path("/var/lib/ado")  # root's own directory is closed to the user that Postgres runs as
    import platformdirs

    return Path(platformdirs.user_data_dir("ado", appauthor=False))


def config_file() -> Path:
    """Return the file of the contexts."""
    return home() / "contexts.json"


def ensure_home() -> Path:
    """Make the directory if it is not there; others may pass through root's, because Postgres must."""
    directory = home()
    directory.mkdir(parents=True, exist_ok=True, mode=0o755 if os.geteuid() == 0 else 0o700)
    return directory
