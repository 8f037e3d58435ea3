"""Watching a task that runs: its log, its questions, why it waits, and its stdin, over one WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from app.rpc.client import CallError, Client, NoAnswer, State
from cli import exits
from cli.output import OutputLost
from cli.remote.checked_calls import socket
from cli.remote.contexts import ServerContext
from cli.remote.fleet import why_waiting
from cli.remote.follow import Follower, FollowProgress, View
from cli.remote.inline_questions import InlineQuestions, can_ask

if TYPE_CHECKING:
    from cli.remote.input_sender import InputSender

_WAITING_SECONDS = 3.0


class LiveFollower(Follower):
    """Shows one task while it runs."""

    def __init__(self, server: ServerContext, view: View, begun: FollowProgress | None = None) -> None:
        super().__init__(server, view, begun)
        self._started = asyncio.Event()
        if self.progress.started:
            self._started.set()
        self._questions = InlineQuestions(view.task_id, view.job, self._talk) if self._asks() else None

    def _asks(self) -> bool:
        """Whether the task's questions are asked here."""
        view = self._view
        is_watched = view.verdict and not (view.json_lines or view.raw or view.silent or view.stdin)
        return is_watched and can_ask()

    async def run(self) -> int:
        """Show the task until its log ends or the user leaves; return the exit code."""
        loop = asyncio.get_running_loop()
        showing = asyncio.create_task(self._watch(), name="show")
        left = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, left.set)
        leaving = asyncio.create_task(left.wait(), name="leave")
        sender = self._sender()
        ends: list[asyncio.Future[Any]] = [showing, leaving, *([sender.refused] if sender else [])]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        if sender is not None:
            sender.stop()
        if showing.done():
            try:
                return await showing
            except OutputLost as error:
                raise self._output_lost(error) from error
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)
        if sender is not None and not sender.refused.cancelled():
            sender.refused.result()
        self._show_next_commands(incomplete=sender is not None and not sender.complete)
        return exits.DETACHED

    def _sender(self) -> InputSender | None:
        """Start to send stdin if the view says so."""
        if not self._view.stdin:
            return None
        from cli.remote.input_sender import InputSender

        sender = InputSender(self._server, self._view.task_id)
        sender.start()
        return sender

    async def _watch(self) -> int:
        async with socket(self._server, on_state=self._connection) as client:
            waiting = asyncio.create_task(self._explain_waiting(client), name="waiting")
            silence = asyncio.create_task(self.progress.health_check.watch(client), name="silence")
            beside = [waiting, silence]
            if self._questions is not None:
                beside.append(asyncio.create_task(self._questions.run(client), name="questions"))
            try:
                task = await self._show(client)
            finally:
                for task_beside in beside:
                    task_beside.cancel()
                await asyncio.gather(*beside, return_exceptions=True)
        return self._end(task)

    def _note(self, event: Mapping[str, Any]) -> None:
        super()._note(event)
        if self.progress.started:
            self._started.set()
        if self._questions is not None:
            self._questions.note(event)

    def _connection(self, state: State) -> None:
        if state.kind != self.progress.connection_state and self._questions is not None:
            self._questions.look_again()
        super()._connection(state)

    async def _explain_waiting(self, client: Client) -> None:
        shown, pause = "", self.progress.began_at + _WAITING_SECONDS - time.monotonic()
        while not self._started.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._started.wait()
                    return
            pause = _WAITING_SECONDS
            with contextlib.suppress(CallError, NoAnswer):
                task = await client.query("tasks.get", {"taskId": self._view.task_id, "explain": True})
                reason = why_waiting(task)
                if reason and reason != shown and not self._started.is_set():
                    shown = reason
                    self._talk(f"ado: waiting: {reason}")
