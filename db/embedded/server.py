"""The supervisor of an embedded Postgres.

States: no server, starting, ready. Proof of life is a lock on a file that the server inherits: who holds the lock
knows that no server of ours lives and may remove a stale ``postmaster.pid``, whatever its pid is now used for. The
server's parent is a small shell that waits for the end of file of a pipe whose other end only this process holds:
when this process dies, however it dies, the shell stops the server (fast shutdown). Killing the shell closes that
watch, so the next start finds the lock taken, and says by whom. Killing everything loses nothing: Postgres recovers.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from db.embedded import binaries
from db.embedded.creation import ENVIRONMENT, OWNER, SUPERUSER, create, start_failed
from db.errors import EmbeddedError

_LONGEST_SOCKET_DIR = 85  # bytes; sun_path holds 104 on macOS, of which the socket's own name takes some
_START_SECONDS = 60.0
_LOCK_SECONDS = 15.0
_STOP_SECONDS = 60.0

_DURABLE = {
    "shared_buffers": "128MB",
    "max_connections": "100",
    "autovacuum_naptime": "10s",
    "idle_in_transaction_session_timeout": "60s",
    "log_parameter_max_length": "0",  # a slow statement is logged without its values: they hold --env and prompts
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "checkpoint_timeout": "15min",
    "max_wal_size": "2GB",
}
_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

# fd 3 is the watch: its end of file means that the owner has died, so the server is asked to stop
_WATCHDOG = (
    'exec 3<&0; "$@" 3<&- </dev/null & server=$!; (read _ <&3; kill -INT $server 2>/dev/null) & watch=$!; '
    'trap "" INT TERM HUP; wait $server; code=$?; kill $watch 2>/dev/null; exit $code'
)


def _own_file(path: Path, mode: str) -> IO[Any]:
    """Open a file for appending that other users cannot open: they could read the log, or take the lock."""

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NOFOLLOW, 0o600)

    file = open(path, mode, opener=opener)  # noqa: SIM115 - Path.open takes no opener
    os.fchmod(file.fileno(), 0o600)  # an older release made it readable
    return file


class EmbeddedServer:
    """A Postgres on ``data``; ``fast`` gives up durability, for tests."""

    def __init__(
        self,
        data: Path,
        *,
        fast: bool = False,
        settings: Mapping[str, str] | None = None,
        bindir: Path | None = None,
    ) -> None:
        self.data = data
        self.log = data.parent / f"{data.name}.log"
        self._fast = fast
        self._settings = {**_DURABLE, **(_FAST if fast else {}), **(settings or {})}
        self._bindir = bindir
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None
        self._watch: int | None = None
        self._socket_dir = data
        self.pid = 0
        """Process id of the postmaster while it runs."""

    def start(self, notify: Callable[[str], None] = lambda _step: None) -> str:
        """Start the server, creating its data directory on first use; return its DSN. Raises EmbeddedError.

        ``notify`` gets each step.
        """
        try:
            return self._start(notify)
        except OSError as error:
            self._abandon()
            raise start_failed("the embedded Postgres cannot be started", str(error), str(self.log)) from error
        except EmbeddedError:
            self._abandon()
            raise

    def _start(self, notify: Callable[[str], None]) -> str:
        who = binaries.identity()
        self.data.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        self._check_reachable(who)
        self._lock = self._take_lock()
        for stale in ("postmaster.pid", ".s.PGSQL.5432", ".s.PGSQL.5432.lock"):
            (self.data / stale).unlink(missing_ok=True)
        bindir = binaries.readable_by(who, self._bindir or binaries.find(), self.data.parent)
        if not (self.data / "PG_VERSION").exists():
            create(self.data, bindir, who, log=self.log, sync=not self._fast, notify=notify)
        notify("starting the database")
        self._socket_dir = self._choose_socket_dir(who)
        self._launch(bindir, who)
        self._await_ready()
        return self._dsn(OWNER)

    @property
    def superuser_dsn(self) -> str:
        """DSN of the bootstrap superuser, for what the owner may not do; a database of an older release has none."""
        return self._dsn(SUPERUSER)

    def _dsn(self, user: str) -> str:
        return f"postgresql:///postgres?host={quote(str(self._socket_dir), safe='/')}&user={user}"

    def _check_reachable(self, who: binaries.Identity) -> None:
        if who.switch() and not binaries.reachable(self.data.parent):
            raise EmbeddedError(
                f"user {who.name}, which Postgres runs as, cannot reach {self.data.parent}",
                "set ADO_HOME to a directory that other users can enter, or run as an ordinary user",
            )

    def _take_lock(self) -> IO[str]:
        file = _own_file(self.data.parent / f".{self.data.name}.lock", "a+")
        end = time.monotonic() + _LOCK_SECONDS  # a predecessor that is going down needs a moment
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._end_orphan()
                if time.monotonic() > end:
                    file.close()
                    raise EmbeddedError(
                        f"another server uses {self.data}{self._holder()}",
                        "stop it with: ado down, or end that process",
                    ) from None
                time.sleep(0.02)
            else:
                return file

    def _end_orphan(self) -> None:
        """Stop a server whose watchdog was killed: nobody else will."""
        with contextlib.suppress(OSError, IndexError, ValueError):
            pid = int((self.data / "postmaster.pid").read_text().splitlines()[0])
            watchdog = os.getsid(pid)  # the server's session is its watchdog's, and holding our lock makes it ours
            if not _exists(watchdog):
                os.kill(pid, signal.SIGINT)

    def _holder(self) -> str:
        with contextlib.suppress(OSError, IndexError):
            return f" (pid {int((self.data / 'postmaster.pid').read_text().splitlines()[0])})"
        return ""

    def _choose_socket_dir(self, who: binaries.Identity) -> Path:
        if len(os.fsencode(self.data)) <= _LONGEST_SOCKET_DIR and "," not in str(self.data):
            return self.data  # at a comma Postgres and its clients divide a list of directories
        if self._socket_dir == self.data:
            directory = Path(tempfile.mkdtemp(prefix="ado-pg-", dir="/tmp"))  # short, and 0700
        else:  # a later start of the same server: whoever has its DSN finds it again
            directory = self._socket_dir
            directory.mkdir(mode=0o700)
        if who.switch():
            os.chown(directory, who.uid, who.gid)
        return directory

    def _launch(self, bindir: Path, who: binaries.Identity) -> None:
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._socket_dir),
            "unix_socket_permissions": "0700",
            "logging_collector": "off",
            **self._settings,
        }
        server = [str(bindir / "postgres"), "-D", str(self.data)]
        server += [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        if self._lock is None:
            raise AssertionError("the lock is taken first")
        lock = fcntl.fcntl(self._lock, fcntl.F_DUPFD_CLOEXEC, 10)  # clear of the shell's own descriptors
        read, self._watch = os.pipe()
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        try:
            with _own_file(self.log, "ab") as log:
                self._process = subprocess.Popen(
                    ["/bin/sh", "-c", _WATCHDOG, "ado-postgres", *server],
                    pass_fds=[lock],
                    stdin=read,
                    stdout=log,
                    stderr=log,
                    cwd="/",
                    env=ENVIRONMENT,
                    start_new_session=True,
                    **who.switch(),
                )
        finally:
            os.close(read)
            os.close(lock)

    def _await_ready(self) -> None:
        if self._process is None:
            raise AssertionError("the server is launched first")
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end:
            with contextlib.suppress(OSError, IndexError, ValueError):
                lines = (self.data / "postmaster.pid").read_text().splitlines()
                pid = int(lines[0])
                if lines[7].strip() == "ready" and os.getsid(pid) == self._process.pid:
                    self.pid = pid
                    return
            if self._process.poll() is not None:
                raise start_failed("the embedded Postgres did not start", self._new_log(), str(self.log))
            time.sleep(0.005)
        raise start_failed("the embedded Postgres was not ready in time", self._new_log(), str(self.log))

    def _new_log(self) -> str:
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def alive(self) -> bool:
        """Whether the server runs."""
        return self._process is not None and (self._process.poll() is None or _exists(self.pid))

    def stop(self) -> None:
        """Stop the server cleanly and wait for its end."""
        if self._watch is not None:
            os.close(self._watch)
            self._watch = None
        if self._process is not None:
            self._end_process(self._process)
            self._process = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        if self._socket_dir != self.data:
            subprocess.run(["rm", "-rf", str(self._socket_dir)], env=ENVIRONMENT, check=False)

    def _end_process(self, process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + _STOP_SECONDS
        number = signal.SIGINT
        while process.poll() is None or (self.pid and _exists(self.pid)):
            if self.pid and process.poll() is not None:  # the watchdog was killed, so ask the server ourselves
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, number)
            if time.monotonic() > end:
                number, end = signal.SIGQUIT, end + _STOP_SECONDS
            time.sleep(0.005)

    def _abandon(self) -> None:
        with contextlib.suppress(OSError):
            self.stop()


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
