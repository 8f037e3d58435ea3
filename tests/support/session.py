"""What one run of the tests owns: a directory, and a Postgres that starts when a test first asks for it.

The process that a person started owns both. The processes of xdist inherit the directory, and ask the owner for
Postgres over a socket in it. Whatever ends the run, nothing of it stays: the owner ends what still runs in the
directory, and removes it.
"""

import contextlib
import os
import signal
import threading
import time
from multiprocessing.connection import Client, Listener
from pathlib import Path

from support.postgres import DIRECTORY, fast_directory, remove, start_server

_SECONDS_TO_END = 60.0


class Postgres:
    """The server of a run; the first call of ``dsn`` starts it."""

    def __init__(self):
        self._lock = threading.Lock()
        self._started = None
        self._ended = False

    def dsn(self):
        """Return the superuser's DSN."""
        with self._lock:
            if self._ended:
                raise RuntimeError("the tests are ending")
            if self._started is None:
                self._started = start_server()
            return self._started[2]

    def stop(self):
        """Stop it; it starts no more."""
        with self._lock:
            self._ended = True
            if self._started:
                self._started[0].stop()


class Session:
    """A run of the tests, as the process that owns it sees it."""

    def __init__(self):
        os.environ.pop(DIRECTORY, None)  # of a run in which this run is a test
        self.directory = fast_directory()
        os.environ[DIRECTORY] = str(self.directory)
        self.postgres = Postgres()
        self._listener = None
        self._serving = False

    def serve(self):
        """Send the DSN to each caller over a socket; return its address."""
        if self._listener is None:
            self._listener = Listener(str(self.directory / "postgres"), "AF_UNIX", backlog=64)
            self._serving = True
            threading.Thread(target=self._answer, daemon=True).start()
        return self._listener.address

    def _answer(self):
        while self._serving:
            with contextlib.suppress(OSError), self._listener.accept() as asking:
                try:
                    asking.send((self.postgres.dsn(), None))
                except Exception as error:
                    asking.send((None, str(error)))

    def close(self):
        """Stop Postgres, end what was left, and remove the directory."""
        self._serving = False
        if self._listener:
            self._listener.close()
        self.postgres.stop()
        end_processes_of(self.directory)
        remove(self.directory)
        os.environ.pop(DIRECTORY, None)


class Part:
    """A run of the tests, as a process of xdist sees it."""

    def __init__(self, address):
        self.postgres = self
        self._address = address
        parts = Path(os.environ[DIRECTORY]) / "parts"
        parts.mkdir(exist_ok=True)
        (parts / str(os.getpid())).touch()

    def dsn(self):
        """Ask for the superuser's DSN."""
        with Client(self._address, "AF_UNIX") as connection:
            dsn, error = connection.recv()
        if error:
            raise RuntimeError(error)
        return dsn


def end_at_sigterm():
    """Have SIGTERM end the tests as Ctrl-C does, here and in the processes of xdist, so that fixtures are undone."""

    def end(*_):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for part in Path(os.environ[DIRECTORY]).glob("parts/*"):
            if int(part.name) != os.getpid():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(part.name), signal.SIGTERM)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)


def processes_of(directory):
    """Return the pids of other processes whose command line or environment holds a directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
                if os.fsencode(directory) in text:
                    found.append(int(entry.name))
    return found


def end_processes_of(directory):
    """Kill all processes that still run in a directory."""
    end = time.monotonic() + _SECONDS_TO_END
    while left := processes_of(directory):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert time.monotonic() < end, f"processes do not end: {left}"
        time.sleep(0.02)
