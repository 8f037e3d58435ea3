"""Sends stdin to a job: in order, each byte once, as fast as the job reads.

A thread reads stdin, because a read that blocks ends with the process alone, and sends what it has by calls that the
server holds back while the job is slow: so no more than a chunk is in memory. Bytes are numbered by their offset, so a
call whose answer was lost is sent again, to whatever replica is there; one that a replica of an older release does not
know is sent to another replica, as long as an upgrade may take. A job that ends first ends the sending.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import select
import threading

from app.rpc.backoff import Backoff
from app.rpc.client import CallError, Unreachable
from app.rpc.client.errors import NO_SUCH_PROCEDURE
from app.rpc.client.retry import UpgradeWait, is_passing
from cli import exits
from cli.errors import CliError, translate
from cli.remote.connection import http
from cli.remote.contexts import ServerContext
from cli.remote.standard_input import STDIN

_CHUNK_BYTES = 512 * 1024
_CLOSED = frozenset({"input_closed", "no_such_task", "no_such_job"})
_SIGN_SECONDS = 20
"""After so long without anything to send a call says that the sender is there."""


class InputSender:
    """Stdin of this process, on its way to a task's only job."""

    def __init__(self, server: ServerContext, task_id: str) -> None:
        self._client = http(server)
        self._task_id = task_id
        self._stopping = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._upgrade_wait = UpgradeWait()
        self.complete = False
        """Whether the job has all of it, or wants no more."""
        self.refused: asyncio.Future[None] = self._loop.create_future()
        """Raises CliError once the server refuses it."""

    def start(self) -> None:
        """Begin to send."""
        threading.Thread(target=self._run, name="stdin", daemon=True).start()

    def stop(self) -> None:
        """Send nothing more; a read that blocks ends with the process."""
        self._stopping.set()
        if self.refused.done():
            self.refused.exception()  # asked for or not, it is known
        self.refused.cancel()

    def _run(self) -> None:
        try:
            self._send_all()
        except CallError as error:
            if error.reason in _CLOSED:
                self.complete = True
            elif error.reason == NO_SUCH_PROCEDURE:
                step = f"upgrade every replica; the job waits for its stdin until then: ado cancel {self._task_id}"
                self._refuse(CliError(error.message, step, exits.INFRASTRUCTURE, "stdin"))
            else:
                self._refuse(translate(error))
        except OSError as error:
            step = f"the job waits for the rest of it; stop it: ado cancel {self._task_id}"
            self._refuse(CliError(f"stdin cannot be read: {error.strerror}", step, exits.FAILED, "stdin"))
        finally:
            self._client.close()

    def _refuse(self, error: CliError) -> None:
        def tell() -> None:
            if not self.refused.done():
                self.refused.set_exception(error)

        with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody asks any more
            self._loop.call_soon_threadsafe(tell)

    def _send_all(self) -> None:
        offset = 0
        while not self._stopping.is_set() and (chunk := _next_chunk()) != b"":
            self._send(offset, chunk or b"", end=False)
            offset += len(chunk or b"")
        self._send(offset, b"", end=True)
        self.complete = not self._stopping.is_set()

    def _send(self, offset: int, data: bytes, *, end: bool) -> None:
        """Send until all of it has come. Raises CallError."""
        last = offset + len(data)
        view = memoryview(data)
        backoff = Backoff()
        while not self._stopping.is_set():
            text = base64.b64encode(view).decode()
            value = {"taskId": self._task_id, "offset": offset, "data": text, "end": end, "alive": True}
            try:
                acknowledged = self._client.mutate("tasks.input", value, resend=True)["acknowledged"]
            except Unreachable:
                pass
            except CallError as error:
                if self._upgrade_wait.allows(error):
                    self._client.leave()
                elif not is_passing(error):
                    raise
            else:
                self._upgrade_wait.renew()
                if acknowledged >= last:
                    return
                view, offset = view[acknowledged - offset :], acknowledged
                continue
            self._stopping.wait(backoff.next())


def _next_chunk() -> bytes | None:
    """Return what stdin has, up to a chunk; nothing at its end, None if it had nothing for a while. Raises OSError."""
    poll = select.poll()
    poll.register(STDIN, select.POLLIN)
    if not poll.poll(_SIGN_SECONDS * 1000):
        return None
    pieces = [os.read(STDIN, _CHUNK_BYTES)]
    size = len(pieces[0])
    while pieces[-1] and size < _CHUNK_BYTES and poll.poll(0):
        pieces.append(os.read(STDIN, _CHUNK_BYTES - size))
        size += len(pieces[-1])
    return b"".join(pieces)
