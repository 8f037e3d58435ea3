"""What the commands that start servers share: the signals that stop them, and the error of a port in use."""

from __future__ import annotations

import errno
import signal
import threading
from types import FrameType

from cli import exits
from cli.errors import CliError

LISTEN_ERRORS = (errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL, errno.EPERM)


def cannot_listen(port: int | None, error: OSError) -> CliError:
    """Return the error of a port on which nothing can listen."""
    where = f"port {port}" if port else "there"
    step = "choose another --port; ports below 1024 need rights of their own"
    return CliError(f"cannot listen on {where}: {error.strerror or error}", step, exits.INFRASTRUCTURE, "port")


def stop_on_signals(stopping: threading.Event) -> None:
    """Set ``stopping`` on SIGTERM, SIGINT and SIGHUP."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
