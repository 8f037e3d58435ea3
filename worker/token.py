"""The worker's token: read from its file, and read again when it may have been renewed."""

from __future__ import annotations

import threading
from pathlib import Path

RENEWAL_SECONDS = 10.0
"""How long a refused worker keeps its jobs and waits for a newer token: it may be revoked before it is replaced."""


class Token:
    """``value`` is the token that is used now. Raises OSError when the file cannot be read at first."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._lock = threading.Lock()
        self.value = self._path.read_text("utf-8").strip()

    def renew(self, used: str) -> bool:
        """Return whether there is a newer one than ``used``; the file is read for it unless one is known already."""
        with self._lock:
            if self.value == used:
                self.value = self._read() or used
            return self.value != used

    def _read(self) -> str:
        """Return what the file holds; nothing where it cannot be read, or is a pipe that was read once."""
        try:
            return self._path.read_text("utf-8").strip() if self._path.is_file() else ""
        except (OSError, UnicodeDecodeError):
            return ""
