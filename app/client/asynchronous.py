"""The asynchronous client: calls and streams over one WebSocket, which is opened again when it breaks.

Streams then continue after their last event, and calls that may be sent twice are sent again, at the next origin.
A call without an answer in time raises Unreachable.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, cast

import msgspec

from app.client import fleet, models
from app.client.calls import Calls, named
from app.client.configuration import server
from app.client.errors import Unavailable, WaitTimedOut
from app.client.events import OutputEvent
from app.client.input import AsyncSource, JobInput, async_pieces, check
from app.client.records import Event
from app.rpc.client import Client, State
from app.rpc.client.tls import Trust

T = TypeVar("T")
Stream = Literal["stdout", "stderr"]


class AsyncAdo:
    """A connection to an ado server, used as an async context manager.

    ``url`` is one origin, several separated by commas, or a sequence of them; without it ADO_URL and ADO_TOKEN (or
    ADO_TOKEN_FILE) name the server. ``ca`` is a PEM file to trust it by. ``timeout`` is the longest wait for an answer
    in seconds. ``on_state`` is called when the connection is lost and when it is back. Raises NotConfigured.
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
        self._calls = Calls(server(url, token, ca), timeout, on_state)

    async def __aenter__(self) -> Self:
        await self._calls.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._calls.close()

    async def create_task(
        self,
        prompt: str,
        *,
        agent: str | None = None,
        agents: Sequence[str] | None = None,
        workers: int | None = None,
        requires: Sequence[str] | None = None,
        resources: models.Resources | None = None,
        priority: int | None = None,
        retries: int | None = None,
        timeout_seconds: float | None = None,
        start_within_seconds: float | None = None,
        env: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        workspace: Mapping[str, Any] | None = None,
        pod: Mapping[str, Any] | None = None,
        network: Literal["all", "none"] | None = None,
        on_failure: Literal["continue", "fail_fast"] | None = None,
        agent_args: Any = None,
        trust_project: bool | None = None,
        checks: Mapping[str, Any] | None = None,
        approve: Literal["ask", "edits", "all", "none"] | None = None,
        budget: Mapping[str, Any] | None = None,
        stdin: bool | None = None,
        after: Sequence[str] | None = None,
        after_any_end: bool | None = None,
        idempotency_key: str | None = None,
    ) -> models.Task:
        """Queue a task; the default agent is ``shell``. With ``agents`` the jobs get these in turn.

        The call is repeated until it is answered; ``idempotency_key``, by default a new one, makes that one task. Other
        input under the same key raises Conflict. With ``stdin``, each job reads the bytes of ``send_input``.
        """
        members = named(
            prompt=prompt, agent=agent, agents=agents, workers=workers, requires=requires, resources=resources,
            priority=priority, retries=retries, timeout_seconds=timeout_seconds,
            start_within_seconds=start_within_seconds, env=env, labels=labels, workspace=workspace, pod=pod,
            network=network, on_failure=on_failure, agent_args=agent_args, trust_project=trust_project, checks=checks,
            approve=approve, budget=budget, stdin=stdin, after=after, after_any_end=after_any_end,
            idempotency_key=idempotency_key or uuid.uuid4().hex,
        )  # fmt: skip
        return await self._create(members, stdin=bool(stdin))

    async def _create(self, members: Mapping[str, Any], *, stdin: bool) -> models.Task:
        """Create a task. If it needs stdin, which its server does not know, cancel it and raise Unavailable."""
        task = await self._calls.mutate(models.Task, "tasks.create", members, resend=True)
        if stdin and not task.stdin:
            await self.cancel_task(task.task_id, reason="no client can send its stdin")
            message = f"the server is of an older release, which cannot send stdin; {task.task_id} was cancelled"
            raise Unavailable(message, code="SERVICE_UNAVAILABLE", hint="try again once all replicas are upgraded")
        return task

    async def send_input(
        self, task_id: str, source: AsyncSource, *, job: int = 0, offset: int = 0, end: bool = True
    ) -> int:
        """Send a job its stdin, each byte once; return how many bytes the job's input has now.

        ``source`` is bytes, a file opened for bytes, or an iterable of pieces, asynchronous or not; it is read as fast
        as the job reads. ``offset`` is the number of bytes that were sent before it. Unless ``end`` is false, the job's
        input ends with the source. Once a server has answered, the call waits as long as no server does. Raises
        InputClosed when the job ends before all bytes were sent.
        """
        async with self.job_input(task_id, job, offset) as job_input, aclosing(async_pieces(source)) as pieces:
            async for piece in pieces:
                await job_input.put(piece)
            return await job_input.finish(end=end)

    def job_input(self, task_id: str, job: int, offset: int) -> JobInput:
        """Return the sender of a job's input, which has its own connection."""
        target = self._calls.server
        client = Client(
            target.urls,
            target.token,
            trust=Trust(target.ca),
            first_contact_seconds=self._calls.timeout,
            check=check,
        )
        return JobInput(client, task_id, job, offset)

    async def input_received(self, task_id: str, *, job: int = 0) -> int:
        """Return how many bytes of a job's input the server has: the offset at which a restarted program goes on."""
        members = {"taskId": task_id, "job": job, "offset": 0}
        return (await self._calls.mutate(models.Received, "tasks.input", members, resend=True)).acknowledged

    async def get_task(self, task_id: str, *, job: int | None = None, explain: bool = False) -> models.Task:
        """Return a task with its jobs; with ``job`` only this job has a result, of any size.

        With ``explain``, ``wait`` says why a task waits.
        """
        return await self._calls.query(models.Task, "tasks.get", {"taskId": task_id, "job": job, "explain": explain})

    async def list_tasks(
        self,
        *,
        status: str | Sequence[str] | None = None,
        labels: Mapping[str, str] | None = None,
        label_names: Sequence[str] | None = None,
        agents: Sequence[str] | None = None,
        since: datetime | float | None = None,
        until: datetime | float | None = None,
        search: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        mine: bool | None = None,
        created_by: str | None = None,
    ) -> models.TaskPage:
        """Return a page of tasks, newest first; ``cursor`` is the ``next_cursor`` of the page before.

        Every filter must match: one of the statuses and agents, ``labels`` with their values, ``label_names`` with any
        value, created ``since`` and before ``until`` a time or so many seconds ago, a text in the prompt or a label,
        and the creator.
        """
        members = named(
            status=status, labels=labels, label_names=label_names, agents=agents, since=since, until=until,
            search=search, limit=limit, cursor=cursor, mine=mine, created_by=created_by,
        )  # fmt: skip
        return await self._calls.query(models.TaskPage, "tasks.list", members)

    async def cancel_task(self, task_id: str, *, reason: str | None = None) -> models.Task:
        """Cancel a task, which ends once its workers have stopped its jobs. A second call changes nothing."""
        return await self._calls.mutate(models.Task, "tasks.cancel", {"taskId": task_id, "reason": reason}, resend=True)

    async def pause_task(self, task_id: str, *, reason: str | None = None) -> models.Task:
        """Pause the jobs of a task that have not ended. A second call changes nothing."""
        return await self._calls.mutate(models.Task, "tasks.pause", {"taskId": task_id, "reason": reason}, resend=True)

    async def resume_task(self, task_id: str, text: str | None = None) -> models.Task:
        """Queue the paused jobs of a task again, with words for their agents. A second call changes nothing."""
        members = {"taskId": task_id, "text": text, "idempotencyKey": uuid.uuid4().hex}
        return await self._calls.mutate(models.Task, "tasks.resume", members, resend=True)

    async def pick_job(self, task_id: str, job: int) -> models.Task:
        """Record which job's result is picked; the last choice stands. A second call changes nothing."""
        return await self._calls.mutate(models.Task, "tasks.pick", {"taskId": task_id, "job": job}, resend=True)

    async def retry_task(self, task_id: str, *, job: int | None = None) -> models.Task:
        """Queue the failed and cancelled jobs of a task again, or one of them."""
        return await self._calls.mutate(models.Task, "tasks.retry", {"taskId": task_id, "job": job})

    async def send(self, task_id: str, text: str, *, job: int | None = None, key: str | None = None) -> models.Message:
        """Send words to the agent of a job, or of every job; with the same ``key`` they are sent once."""
        members = {"taskId": task_id, "text": text, "job": job, "idempotencyKey": key or uuid.uuid4().hex}
        return await self._calls.mutate(models.Message, "tasks.send", members, resend=True)

    async def messages(self, task_id: str, *, cursor: str | None = None) -> models.MessagePage:
        """Return a page of a task's messages, oldest first."""
        return await self._calls.query(models.MessagePage, "tasks.messages", {"taskId": task_id, "cursor": cursor})

    async def update_task(
        self, task_id: str, *, version: int, priority: int | None = None, labels: Mapping[str, str] | None = None
    ) -> models.Task:
        """Change a task that is still at ``version``; otherwise raise Conflict with ``data["version"]``."""
        members = named(task_id=task_id, version=version, priority=priority, labels=labels)
        return await self._calls.mutate(models.Task, "tasks.update", members)

    async def remove_task(self, task_id: str) -> models.Removed:
        """Remove a task that has ended, with its log and files."""
        return await self._calls.mutate(models.Removed, "tasks.remove", {"taskId": task_id})

    async def wait(self, task_id: str, *, timeout: float | None = None) -> models.Task:
        """Return a task once it has ended, with any result. Raises WaitTimedOut after ``timeout`` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while not (task := await self.get_task(task_id)).ended:
                    async with aclosing(self.progress(task_id, after=task.last_seq)) as progress:
                        async for _ in progress:
                            pass
        except TimeoutError as error:
            message = f"{task_id} has not ended within {timeout:g} seconds"
            raise WaitTimedOut(message, code="TIMEOUT", hint="wait longer, or cancel it") from error
        return task

    def events(
        self,
        task_id: str,
        *,
        after: int | None = None,
        follow: bool = True,
        job: int | None = None,
        tail: int | None = None,
        since: datetime | float | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Yield every event of a task, each once and in order, until the task ends or, without ``follow``, up to now.

        ``after`` is the ``seq`` of the last event that the caller has. Otherwise ``tail`` starts with the last so many
        events, and ``since`` at a time or so many seconds ago. The stream survives any number of broken connections.
        """
        return self._calls.events("stream.taskEvents", task_id, after, follow=follow, job=job, tail=tail, since=since)

    def progress(
        self,
        task_id: str,
        *,
        after: int | None = None,
        follow: bool = True,
        job: int | None = None,
        tail: int | None = None,
        since: datetime | float | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Yield the events of a task without its output; see ``events``."""
        return self._calls.events("stream.taskProgress", task_id, after, follow=follow, job=job, tail=tail, since=since)

    async def output(
        self,
        task_id: str,
        *,
        after: int | None = None,
        follow: bool = True,
        job: int | None = None,
        stream: Stream | None = None,
        tail: int | None = None,
        since: datetime | float | None = None,
    ) -> AsyncGenerator[OutputEvent, None]:
        """Yield the output of a task; see ``events``."""
        options = {"follow": follow, "job": job, "stream": stream, "tail": tail, "since": since}
        async with aclosing(self._calls.events("stream.taskOutput", task_id, after, **options)) as events:
            async for event in events:
                if isinstance(event, OutputEvent):
                    yield event

    async def logs(self, task_id: str, *, job: int | None = None, stream: Stream | None = None) -> bytes:
        """Return the output so far of a task or one of its jobs, as bytes; ``output`` suits large ones."""
        async with aclosing(self.output(task_id, follow=False, job=job, stream=stream)) as events:
            return b"".join([event.content async for event in events])

    async def kv_get(self, task_id: str, key: str) -> models.Value | None:
        """Return a value of a task's key-value store; None if there is none."""
        return await self._calls.query(
            cast(type[models.Value | None], models.Value | None), "tasks.kvGet", {"taskId": task_id, "key": key}
        )

    async def kv_list(self, task_id: str, *, prefix: str = "") -> list[models.Value]:
        """Return the values whose keys begin with ``prefix``, by key."""
        return (await self._calls.query(models.Values, "tasks.kvList", {"taskId": task_id, "prefix": prefix})).items

    async def kv_set(self, task_id: str, key: str, value: Any) -> models.Value:
        """Store a JSON value; repeated calls store it once."""
        members = {"taskId": task_id, "key": key, "idempotencyKey": uuid.uuid4().hex}
        return await self._calls.mutate(models.Value, "tasks.kvSet", members, {"value": value}, resend=True)

    async def kv_cas(self, task_id: str, key: str, value: Any, *, version: int) -> models.Value:
        """Replace the value at ``version`` (0: no value) by another one; otherwise raise Conflict."""
        members = {"taskId": task_id, "key": key, "version": version, "idempotencyKey": uuid.uuid4().hex}
        return await self._calls.mutate(models.Value, "tasks.kvCas", members, {"value": value}, resend=True)

    async def list_questions(self, *, state: str = "open", task_id: str | None = None) -> list[models.Question]:
        """Return the questions of a state (``all``: of every one), the oldest first; with ``task_id`` of one task."""
        return await self._every_page(models.QuestionList, "questions.list", {"state": state, "taskId": task_id})

    async def answer_question(
        self, question_id: str, *, choice: str | None = None, text: str | None = None, remember: str = "no"
    ) -> models.Question:
        """Answer a question by the id of an option, or by a text where it has none; the first answer stands.

        With ``remember="task"`` the answer counts for each request for the same tool in the task.
        Raises Conflict if it is not open: ``data["answer"]`` is the answer that stands, if there is one.
        """
        members = {"questionId": question_id, "choice": choice, "text": text, "remember": remember}
        return await self._calls.mutate(models.Question, "questions.answer", members, resend=True)

    async def list_workers(self, *, state: str | None = None) -> list[models.Worker]:
        """Return the workers by id, including those that ended recently."""
        return await self._every_page(models.WorkerList, "workers.list", {"state": state})

    async def _every_page(self, shape: type[Any], path: str, members: Mapping[str, Any]) -> list[Any]:
        """Return the items of all pages of a list."""
        items: list[Any] = []
        cursor: str | None = None
        while True:
            page = await self._calls.query(shape, path, {**members, "cursor": cursor})
            items += page.items
            if (cursor := page.next_cursor) is None:
                return items

    async def workers_status(self) -> models.WorkersStatus:
        """Return the workers that have not ended, their number by state, the queue and the spawners."""
        page = await self._calls.query(models.WorkersStatus, "workers.status", {})
        workers = list(page.workers)
        while page.next_cursor is not None:
            page = await self._calls.query(models.WorkersStatus, "workers.status", {"cursor": page.next_cursor})
            workers += page.workers
        return msgspec.structs.replace(page, workers=workers)

    async def drain_worker(self, worker_id: str) -> models.Worker:
        """Let a worker finish its jobs, take no new ones, and end."""
        return await self._calls.mutate(models.Worker, "workers.drain", {"workerId": worker_id}, resend=True)

    async def scale_workers(self, count: int, *, capabilities: Sequence[str] = ()) -> models.Scale:
        """Keep ``count`` workers of these capabilities, even while the queue is empty."""
        members = {"count": count, "capabilities": list(capabilities)}
        return await self._calls.mutate(models.Scale, "workers.scale", members, resend=True)

    async def autoscale_workers(self, limits: models.AutoscaleLimits) -> fleet.Autoscale:
        """Set within which limits spawners keep workers; ``workers_status`` lists the ranges."""
        return await self._calls.mutate(fleet.Autoscale, "workers.autoscale", msgspec.to_builtins(limits), resend=True)

    async def remove_autoscale(self, capability: str = "") -> fleet.Autoscale:
        """Remove the range of a capability, or of all workers; return it."""
        return await self._calls.mutate(fleet.Autoscale, "workers.autoscaleRemove", {"capability": capability})

    async def reset_agent(self, agent: str) -> models.ForgottenFailures:
        """Forget the failures of an agent, so that its jobs wait no longer."""
        return await self._calls.mutate(models.ForgottenFailures, "workers.resetAgent", {"agent": agent}, resend=True)
