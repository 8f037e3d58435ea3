"""The embedded control plane: Postgres, API replicas and a spawner as children of one process.

Order of the start: database, schema, the administrator's token, listening sockets, children, ready. The sockets are
made here and inherited: a replica that dies is started again on the same port, and connections that are made
meanwhile wait. Children hold a lifeline: a pipe that ends when this process dies for whatever reason. A child that
ends is started again with back-off; a database that ends is started again and recovers.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.core.private_files import write_file
from app.core.programs import module
from db import migrate, token_admin
from db.dsn import without_password
from db.embedded import EmbeddedServer
from db.embedded.binaries import find, major
from db.errors import EmbeddedError

_log = logging.getLogger("ado.plane")
_STABLE_SECONDS = 10.0
_LONGEST_PAUSE = 5.0
_CHILD_STOP_SECONDS = 25.0


@dataclass(frozen=True, slots=True)
class PlaneSettings:
    """What an embedded control plane runs with."""

    home: Path
    state_file: Path
    version: str
    replicas: int = 1
    port: int = 0
    max_workers: int = 8
    dsn: str = ""
    """A database of the user's own instead of the embedded one."""


@dataclass(slots=True)
class Child:
    """A child process, and how to start it again."""

    role: str
    command: list[str]
    fds: tuple[int, ...]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    failures: int = 0
    start_at: float = 0.0
    env: dict[str, str] = field(default_factory=dict)

    def start(self) -> None:
        """Start the process."""
        self.started_at = time.monotonic()
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            pass_fds=self.fds,
            env={**os.environ, **self.env},
            start_new_session=True,
            cwd="/",
        )

    def restart_if_ended(self) -> None:
        """Start the process again when it has ended, after a pause that grows with its failures."""
        now = time.monotonic()
        if self.process is None:
            if now >= self.start_at:
                self._try_to_start()
        elif self.process.poll() is not None:
            self.failures = 0 if now - self.started_at > _STABLE_SECONDS else self.failures + 1
            _log.error("child ended", extra={"role": self.role, "code": self.process.returncode})
            self.start_at = now + min(_LONGEST_PAUSE, 0.1 * 2**self.failures)
            self.process = None

    def _try_to_start(self) -> None:
        try:
            self.start()
        except OSError as error:  # no memory, or too many processes
            self.start_at = time.monotonic() + _LONGEST_PAUSE
            _log.error("child cannot be started", extra={"role": self.role, "error": str(error)})

    def stop(self) -> None:
        """Ask the process to end and wait; kill it when it does not."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(_CHILD_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class ControlPlane:
    """The processes of one home."""

    def __init__(self, settings: PlaneSettings, report: Callable[[str], None]) -> None:
        """``report`` is called with each step of the start."""
        self._settings = settings
        self._report = report
        self._server: EmbeddedServer | None = None
        self._children: list[Child] = []
        self._dsn = settings.dsn
        self._urls: list[str] = []
        self._written_processes: list[dict[str, Any]] = []
        self._restart_at = 0.0

    def run(self, stopping: threading.Event, ready: Callable[[list[str]], None]) -> None:
        """Start everything, call ``ready`` with the origins, restart what ends until ``stopping`` is set, stop."""
        try:
            self._start()
            self._await_ready(stopping)
            if not stopping.is_set():
                self._write_state()
                ready(self._urls)
            while not stopping.wait(0.1):
                self._restart_ended()
                if self._processes() != self._written_processes:
                    self._update_state()
        finally:
            self._settings.state_file.unlink(missing_ok=True)
            for child in reversed(self._children):  # the spawner first: it stops the workers, which need the API
                child.stop()
            if self._server is not None:
                self._server.stop()

    def _start(self) -> None:
        home = self._settings.home
        if not self._dsn:
            self._server = EmbeddedServer(home / f"postgres-{major(find())}")
            self._dsn = self._server.start(self._report)
            migrate.migrate(self._dsn, lambda place, count: self._report(f"applying migration {place} of {count}"))
        self._report("starting the API and the spawner")
        token_file = home / "token"
        token_admin.ensure_token(self._dsn, token_file)
        lifeline, self._lifeline = os.pipe()
        sockets = _sockets(home / "ports", self._settings.port, self._settings.replicas)
        self._urls = [f"http://127.0.0.1:{listener.getsockname()[1]}" for listener in sockets]
        env = {"ADO_DSN": self._dsn}
        for listener in sockets:
            command = module("cli", "api", "--fd", str(listener.fileno()), "--lifeline", str(lifeline))
            self._children.append(Child("api", command, (listener.fileno(), lifeline), env=env))
        command = module("cli", "spawner", "--backend", "local", "--max", str(self._settings.max_workers))
        command += ["--url", ",".join(self._urls), "--work-dir", str(home / "work"), "--lifeline", str(lifeline)]
        self._children.append(Child("spawner", command, (lifeline,), env=env))
        self._sockets = sockets
        for child in self._children:
            child.start()

    def _await_ready(self, stopping: threading.Event) -> None:
        waiting = list(self._urls)
        while waiting and not stopping.wait(0.02):
            self._restart_ended()
            waiting = [url for url in waiting if not _is_ready(url)]

    def _restart_ended(self) -> None:
        if self._server is not None and not self._server.alive() and time.monotonic() >= self._restart_at:
            self._restart_database(self._server)
        for child in self._children:
            child.restart_if_ended()

    def _restart_database(self, server: EmbeddedServer) -> None:
        """Start the database again. After a failure, such as a full disk, it is tried again later."""
        _log.error("database ended; starting it again")
        try:
            server.stop()
            server.start()
        except (OSError, EmbeddedError) as error:
            self._restart_at = time.monotonic() + _LONGEST_PAUSE
            _log.error("database cannot be started", extra={"error": str(error), "again_in": _LONGEST_PAUSE})

    def _processes(self) -> list[dict[str, Any]]:
        processes: list[dict[str, Any]] = [{"role": "control-plane", "pid": os.getpid()}]
        processes += [{"role": child.role, "pid": child.process.pid} for child in self._children if child.process]
        if self._server is not None:
            processes.append({"role": "postgres", "pid": self._server.pid})
        return processes

    def _update_state(self) -> None:
        try:
            self._write_state()
        except OSError as error:  # a full disk; the file keeps the previous state
            self._written_processes = self._processes()
            _log.error("state cannot be written", extra={"error": str(error)})

    def _write_state(self) -> None:
        self._written_processes = self._processes()
        state: dict[str, Any] = {
            "url": self._urls[0],
            "urls": self._urls,
            "tokenFile": str(self._settings.home / "token"),
            "dsn": self._dsn,
            "version": self._settings.version,
            "pid": os.getpid(),
            "processes": self._written_processes,
            "maxWorkers": self._settings.max_workers,
            "database": without_password(self._settings.dsn) if self._settings.dsn else None,
        }
        write_file(self._settings.state_file, json.dumps(state).encode())


def _sockets(record: Path, port: int, count: int) -> list[socket.socket]:
    """Listen once for each replica, on the ports of the last control plane of this home: its clients still try them."""
    recorded = [int(word) for word in record.read_text().split() if word.isdigit()] if record.exists() else []
    ports = [port or (recorded or [0])[0], *recorded[1:], *[0] * count][:count]
    sockets = []
    for index, number in enumerate(ports):
        try:
            sockets.append(_listen(number))
        except OSError:
            if port and index == 0:
                raise
            sockets.append(_listen(0))
    numbers = [listener.getsockname()[1] for listener in sockets]
    write_file(record, " ".join(str(number) for number in [*numbers, *recorded[count:]]).encode())
    return sockets


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        listener.close()
        raise
    listener.listen(1024)
    return listener


def _is_ready(url: str) -> bool:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
