"""The blocking client: the asynchronous one on an event loop in a thread of its own.

Every thread may use it. While a call waits, Ctrl-C and other exceptions end the wait and cancel the call.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from app.client.asynchronous import AsyncAdo, Stream
from app.client.errors import UNREACHABLE, Unreachable
from app.client.events import Event, OutputEvent
from app.client.input import Source, pieces
from app.rpc.client import State

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


def _blocking(
    method: Callable[Concatenate[AsyncAdo, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[Ado, P], R]:
    """Return a method that waits for the asynchronous one; it has the same parameters and documentation."""

    @functools.wraps(method)
    def call(self: Ado, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._run(method(self._client, *args, **kwargs))

    return call


class Ado:
    """A connection to an ado server, used as a context manager or ended by ``close``.

    The parameters are those of ``AsyncAdo``. ``on_state`` is called in the client's own thread.
    """

    def __init__(
        self,
        url: str | Sequence[str] | None = None,
        token: str | None = None,
        *,
        ca: str | None = None,
        timeout: float = 30.0,
        on_state: Callable[[State], None] | None = None,
    ) -> None:
        self._client = AsyncAdo(url, token, ca=ca, timeout=timeout, on_state=on_state)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ado client", daemon=True)
        self._thread.start()
        self._run(self._client.__aenter__())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; calls and streams of other threads raise Unreachable."""
        if self._loop.is_closed():
            return
        self._run(self._client.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(_cancel_rest())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    create_task = _blocking(AsyncAdo.create_task)
    get_task = _blocking(AsyncAdo.get_task)
    list_tasks = _blocking(AsyncAdo.list_tasks)
    cancel_task = _blocking(AsyncAdo.cancel_task)
    retry_task = _blocking(AsyncAdo.retry_task)
    update_task = _blocking(AsyncAdo.update_task)
    remove_task = _blocking(AsyncAdo.remove_task)
    input_received = _blocking(AsyncAdo.input_received)
    wait = _blocking(AsyncAdo.wait)
    logs = _blocking(AsyncAdo.logs)
    kv_get = _blocking(AsyncAdo.kv_get)
    kv_list = _blocking(AsyncAdo.kv_list)
    kv_set = _blocking(AsyncAdo.kv_set)
    kv_cas = _blocking(AsyncAdo.kv_cas)
    list_workers = _blocking(AsyncAdo.list_workers)
    workers_status = _blocking(AsyncAdo.workers_status)
    drain_worker = _blocking(AsyncAdo.drain_worker)
    scale_workers = _blocking(AsyncAdo.scale_workers)

    def send_input(self, task_id: str, source: Source, *, job: int = 0, offset: int = 0, end: bool = True) -> int:
        """Send a job its stdin; see ``AsyncAdo.send_input``. The source is read by the thread that calls."""
        sending = self._client.sending(task_id, job, offset)
        self._run(sending.__aenter__())
        try:
            for piece in pieces(source):
                self._run(sending.put(piece))
            return self._run(sending.finish(end=end))
        finally:
            if not self._loop.is_closed():
                self._run(sending.__aexit__())

    def events(
        self,
        task_id: str,
        *,
        after: int | None = None,
        follow: bool = True,
        job: int | None = None,
        tail: int | None = None,
        since: datetime | float | None = None,
    ) -> Generator[Event, None, None]:
        """Yield every event of a task; see ``AsyncAdo.events``."""
        options: dict[str, Any] = {"after": after, "follow": follow, "job": job, "tail": tail, "since": since}
        return self._iterate(self._client.events(task_id, **options))

    def progress(
        self,
        task_id: str,
        *,
        after: int | None = None,
        follow: bool = True,
        job: int | None = None,
        tail: int | None = None,
        since: datetime | float | None = None,
    ) -> Generator[Event, None, None]:
        """Yield the events of a task without its output; see ``AsyncAdo.events``."""
        options: dict[str, Any] = {"after": after, "follow": follow, "job": job, "tail": tail, "since": since}
        return self._iterate(self._client.progress(task_id, **options))

    def output(
        self,
        task_id: str,
        *,
        after: int | None = None,
        follow: bool = True,
        job: int | None = None,
        stream: Stream | None = None,
        tail: int | None = None,
        since: datetime | float | None = None,
    ) -> Generator[OutputEvent, None, None]:
        """Yield the output of a task; see ``AsyncAdo.events``."""
        options: dict[str, Any] = {"after": after, "follow": follow, "job": job, "tail": tail, "since": since}
        return self._iterate(self._client.output(task_id, stream=stream, **options))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop.is_closed():
            work.close()
            raise Unreachable("the client was closed", code=UNREACHABLE, hint="make a new client")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        finally:
            future.cancel()

    def _iterate(self, items: AsyncGenerator[T, None]) -> Generator[T, None, None]:
        steps = _Steps(items)
        try:
            while (step := self._run(steps.next())) is not None:
                yield step[0]
        finally:
            if not self._loop.is_closed():
                self._run(steps.close())


class _Steps(Generic[T]):
    """Steps through an asynchronous generator, each a task: one that is cancelled has ended before it is closed."""

    def __init__(self, items: AsyncGenerator[T, None]) -> None:
        self._items = items
        self._step: asyncio.Task[T] | None = None

    async def next(self) -> tuple[T] | None:
        """Return the next item in a tuple, None after the last one."""
        self._step = asyncio.create_task(self._items.__anext__())
        try:
            return (await self._step,)
        except StopAsyncIteration:
            return None

    async def close(self) -> None:
        """End the generator."""
        if self._step is not None:
            self._step.cancel()
            await asyncio.wait([self._step])
        await self._items.aclose()


async def _cancel_rest() -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
