"""The worker's token: it is read from its file, and read again when the file may have been renewed."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from app.core.token_file import TokenFileExposed, read_token

_log = logging.getLogger("ado.worker")

RENEWAL_SECONDS = 10.0
"""How long a refused worker keeps its jobs and waits for a newer token: a token may be revoked before its successor
is in the file."""


class WorkerToken:
    """``value`` is the token that is used now. Raises OSError and TokenFileExposed for the first read."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._lock = threading.Lock()
        self._is_warned = False
        self.value = read_token(self._path)

    def renew(self, used: str) -> bool:
        """Return whether there is a newer token than ``used``; reads the file unless a newer one is known already."""
        with self._lock:
            if self.value == used:
                self.value = self._read() or used
            return self.value != used

    def _read(self) -> str:
        """Return the token in the file; empty if it cannot be read, or is a pipe that was read before."""
        try:
            return read_token(self._path) if self._path.is_file() else ""
        except TokenFileExposed as error:
            if not self._is_warned:  # every heartbeat reads the file
                _log.warning(str(error), extra={"next": error.next_step})
                self._is_warned = True
            return ""
        except OSError:
            return ""
