"""Sends stdin to a job: in order, each byte once, as fast as the job reads it.

A thread reads stdin, because only the end of the process ends a blocked read. The server delays the answers while the
job is slow, so at most one chunk is in memory. Every call carries the offset of its bytes: a call without an answer is
sent again to any replica. A replica of an older release does not know the call; another one is tried for as long as an
upgrade may take. Sending stops when the job ends.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import select
import threading

from app.rpc.backoff import Backoff
from app.rpc.client import CallError, NoAnswer
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
"""After so long without input, an empty call says that the sender is still alive."""


class InputSender:
    """Sends the stdin of this process to the only job of a task."""

    def __init__(self, server: ServerContext, task_id: str) -> None:
        self._client = http(server)
        self._task_id = task_id
        self._stopping = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._upgrade_wait = UpgradeWait()
        self.complete = False
        """Whether the job has all of it, or reads no more."""
        self.refused: asyncio.Future[None] = self._loop.create_future()
        """Fails with CliError once the server refuses the input."""

    def start(self) -> None:
        """Start to send."""
        threading.Thread(target=self._run, name="stdin", daemon=True).start()

    def stop(self) -> None:
        """Stop sending; a blocked read ends with the process."""
        self._stopping.set()
        if self.refused.done():
            self.refused.exception()  # marks the exception as retrieved
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
        def fail() -> None:
            if not self.refused.done():
                self.refused.set_exception(error)

        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits for the result
            self._loop.call_soon_threadsafe(fail)

    def _send_all(self) -> None:
        offset = 0
        while not self._stopping.is_set() and (chunk := _next_chunk()) != b"":
            self._send(offset, chunk or b"", end=False)
            offset += len(chunk or b"")
        self._send(offset, b"", end=True)
        self.complete = not self._stopping.is_set()

    def _send(self, offset: int, data: bytes, *, end: bool) -> None:
        """Send until the server has all of it. Raises CallError."""
        last = offset + len(data)
        view = memoryview(data)
        backoff = Backoff()
        while not self._stopping.is_set():
            text = base64.b64encode(view).decode()
            value = {"taskId": self._task_id, "offset": offset, "data": text, "end": end, "alive": True}
            try:
                acknowledged = self._client.mutate("tasks.input", value, resend=True)["acknowledged"]
            except NoAnswer:
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
    """Return up to a chunk of stdin; empty at its end, None if nothing came for a while. Raises OSError."""
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
