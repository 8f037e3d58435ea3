"""The blocking client: the asynchronous client on an event loop in its own thread.

It is thread-safe. Ctrl-C and other exceptions end a waiting call and cancel it.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Sequence
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from app.client.asynchronous import AsyncAdo
from app.client.errors import UNREACHABLE, Unreachable
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


def _iterating(
    method: Callable[Concatenate[AsyncAdo, P], AsyncGenerator[R, None]],
) -> Callable[Concatenate[Ado, P], Generator[R, None, None]]:
    """Return a method that iterates the asynchronous generator; it has the same parameters and documentation."""

    @functools.wraps(method)
    def iterate(self: Ado, /, *args: P.args, **kwargs: P.kwargs) -> Generator[R, None, None]:
        return self._iterate(method(self._client, *args, **kwargs))

    return iterate


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
    pause_task = _blocking(AsyncAdo.pause_task)
    resume_task = _blocking(AsyncAdo.resume_task)
    pick_job = _blocking(AsyncAdo.pick_job)
    retry_task = _blocking(AsyncAdo.retry_task)
    send = _blocking(AsyncAdo.send)
    messages = _blocking(AsyncAdo.messages)
    update_task = _blocking(AsyncAdo.update_task)
    remove_task = _blocking(AsyncAdo.remove_task)
    input_received = _blocking(AsyncAdo.input_received)
    wait = _blocking(AsyncAdo.wait)
    logs = _blocking(AsyncAdo.logs)
    kv_get = _blocking(AsyncAdo.kv_get)
    kv_list = _blocking(AsyncAdo.kv_list)
    kv_set = _blocking(AsyncAdo.kv_set)
    kv_cas = _blocking(AsyncAdo.kv_cas)
    list_questions = _blocking(AsyncAdo.list_questions)
    answer_question = _blocking(AsyncAdo.answer_question)
    list_workers = _blocking(AsyncAdo.list_workers)
    workers_status = _blocking(AsyncAdo.workers_status)
    drain_worker = _blocking(AsyncAdo.drain_worker)
    scale_workers = _blocking(AsyncAdo.scale_workers)
    autoscale_workers = _blocking(AsyncAdo.autoscale_workers)
    remove_autoscale = _blocking(AsyncAdo.remove_autoscale)
    reset_agent = _blocking(AsyncAdo.reset_agent)
    events = _iterating(AsyncAdo.events)
    progress = _iterating(AsyncAdo.progress)
    output = _iterating(AsyncAdo.output)

    def send_input(self, task_id: str, source: Source, *, job: int = 0, offset: int = 0, end: bool = True) -> int:
        """Send a job its stdin; see ``AsyncAdo.send_input``. The source is read by the thread that calls."""
        job_input = self._client.job_input(task_id, job, offset)
        self._run(job_input.__aenter__())
        try:
            for piece in pieces(source):
                self._run(job_input.put(piece))
            return self._run(job_input.finish(end=end))
        finally:
            if not self._loop.is_closed():
                self._run(job_input.__aexit__())

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        if self._loop.is_closed():
            call.close()
            raise Unreachable("the client was closed", code=UNREACHABLE, hint="make a new client")
        future = asyncio.run_coroutine_threadsafe(call, self._loop)
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
    """Steps through an asynchronous generator; each step is a task, so that ``close`` can wait for a cancelled one."""

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
    remaining = asyncio.all_tasks() - {asyncio.current_task()}
    for task in remaining:
        task.cancel()
    await asyncio.gather(*remaining, return_exceptions=True)
