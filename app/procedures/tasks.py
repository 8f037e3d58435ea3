"""The procedures ``tasks.*`` that create, show, change and remove one task."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from typing import Annotated, Any, Literal

import msgspec
import orjson
from msgspec import Meta, field
from msgspec.structs import replace

from app.access.auth import READ, RUN_TASKS
from app.access.context import Context
from app.core.approvals import CAPABILITIES, Approval, capability_of, why_impossible
from app.core.capabilities import BROUGHT, BUDGETS, CHECKS, FOLLOWS_REF, NO_NETWORK, STDIN
from app.core.environment_cipher import EnvironmentCipher
from app.core.reasons import refusal
from app.procedures.checks.agents import DEFAULT, in_turn
from app.procedures.checks.arguments import (
    AGENT_ARGS_BYTES,
    LABELS_BYTES,
    POD_BYTES,
    Pod,
    check_json_limit,
    check_limit,
    check_pod,
    pod_members,
    refuse_nul,
)
from app.procedures.checks.budgets import check_budget
from app.procedures.checks.ids import no_such_file, no_such_job, no_such_task, parse_task
from app.procedures.checks.ownership import check_may_change, check_may_see, check_queue
from app.procedures.checks.paging import fit
from app.procedures.checks.predecessors import check_predecessors, check_retry, parse_after
from app.procedures.checks.workspaces import Name, Workspace, check_workspace
from app.rpc.errors import ProcedureError
from app.rpc.server.procedure import mutation, query
from app.settings import AppSettings
from app.shapes.checks import Checks
from app.shapes.records import Budget, Resources, Task, Wire
from app.shapes.waits import limits_wait, wait_of
from db import autoscale, events, jobs, tasks, users
from db.actor import Actor
from db.model import TERMINAL, NewTask, ResourceAmounts, ScheduledTime, record_of

Priority = Annotated[int, Meta(ge=-1_000_000, le=1_000_000)]
_SCOPE_CHARS = 32
_RESERVED_KEY = re.compile(r"schedule-\d+@", re.ASCII)
_NOT_IN_THE_DIGEST = {"digest", "sealed_environment", "idempotency_key", "base_file", "actor"}
_IN_THE_DIGEST = [field.name for field in dataclasses.fields(NewTask) if field.name not in _NOT_IN_THE_DIGEST]
Version = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class TaskInput(Wire):
    """A task by its id."""

    task_id: str


class GetInput(Wire):
    """A task by its id; with ``job`` the answer has the result of this job only, however large it is.

    With ``explain`` the answer says why a task waits.
    """

    task_id: str
    job: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    explain: bool = False


class TaskCreateInput(Wire):
    """A new task."""

    prompt: str
    agent: Name = DEFAULT
    agents: Annotated[list[Name], Meta(max_length=1000)] = []
    """Several agents, which the jobs get in turn; instead of ``agent``."""
    workers: Annotated[int, Meta(ge=1)] = 1
    requires: list[Name] = []
    resources: Resources = field(default_factory=Resources)
    priority: Priority = 0
    retries: Annotated[int, Meta(ge=0, le=1000)] = 0
    timeout_seconds: Annotated[float, Meta(gt=0, le=31_536_000)] | None = None
    start_within_seconds: Annotated[float, Meta(gt=0, le=31_536_000)] | None = None
    """A job whose first attempt has not begun by then fails with ``not_started``."""
    env: dict[str, str] = {}
    labels: dict[str, str] = {}
    workspace: Workspace | None = None
    pod: Pod | None = None
    network: Literal["all", "none"] = "all"
    """With ``none`` its jobs have only loopback; they run on workers that can isolate them."""
    on_failure: Literal["continue", "fail_fast"] = "continue"
    idempotency_key: Name | None = None
    agent_args: Any = None
    trust_project: bool = False
    """Whether the agent uses the repository's own settings (hooks, MCP servers, plugins)."""
    checks: Checks | None = None
    """Its setup and checks; they run on workers that can do that."""
    approve: Approval | None = None
    """What its agent may do without asking a person: ``all`` on isolated workers and ``edits`` on others by default."""
    budget: Budget | None = None
    """What each of its jobs may use; they run on workers that can keep to it."""
    stdin: bool = False
    """Whether its jobs read the input that ``tasks.input`` sends; they run on workers that can pass it on."""
    after: Annotated[list[Name], Meta(max_length=1000)] = []
    """Tasks after which it starts. If one of them fails or is cancelled, it is cancelled."""
    after_any_end: bool = False
    """Whether it starts however those end."""


class CancelInput(Wire):
    """A task to stop, and why."""

    task_id: str
    reason: Annotated[str, Meta(max_length=1000)] | None = None


class RetryInput(Wire):
    """A task, or one job of it, to queue again."""

    task_id: str
    job: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None


class UpdateInput(Wire):
    """A change to a task; ``version`` is the one that the caller has seen."""

    task_id: str
    version: Version
    priority: Priority | None = None
    labels: dict[str, str] | None = None


@mutation(access=RUN_TASKS)
async def create(context: Context, input: TaskCreateInput) -> Task:
    """Queue a task. The same idempotencyKey with the same input returns the existing task."""
    if _RESERVED_KEY.match(input.idempotency_key or ""):
        text = "idempotencyKey: schedule-N@TIME is the key of a schedule's task"
        raise refusal("invalid_input", text, field="idempotencyKey")
    services = context.services
    task = checked(services.settings, services.cipher, input, context.actor("tasks.create"))
    if task.predecessors and not await _is_known(context, input.idempotency_key):
        await check_predecessors(context, task)
    names = (("file", task.base_file),) if task.base_file else ()
    created = await context.services.creations.submit(task, *names, size=len(task.prompt))
    if created and task.predecessors:  # it may wait
        return await get_task(context, created.task_id)
    return Task.of(created) if created else await get_task(context, await _existing(context, input, task))


def checked(settings: AppSettings, cipher: EnvironmentCipher, input: TaskCreateInput, actor: Actor | None) -> NewTask:
    """Return the task that an input asks for. Raises BAD_REQUEST, FORBIDDEN."""
    members = msgspec.to_builtins(input)
    refuse_nul(**{name: value for name, value in members.items() if name != "agentArgs"})
    _check_limits(settings, input)
    agents = in_turn(input.agent, input.agents, input.workers)
    for agent in dict.fromkeys(agents):
        _check_approval(input, agent)
        check_budget(agent, input.budget)
    task = _new_task(input, agents, cipher.seal(input.env), actor)
    limit = task.timeout_seconds or settings.task_timeout or None
    return dataclasses.replace(task, timeout_seconds=limit)  # after the digest, which a setting must not change


async def _is_known(context: Context, key: str | None) -> bool:
    """Whether a task exists under an idempotency key; then it counts, whatever has become of those before it."""
    return key is not None and await tasks.find_by_key(context.db, key) is not None


def _digest(value: object) -> bytes:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).digest()


def _digest_of(task: NewTask) -> bytes:
    """Return the digest of a task's input with its defaults, so that spelling out a default changes nothing.

    Empty members do not count, so a member that a later release adds does not change the digest.
    """
    members = {name: getattr(task, name) for name in _IN_THE_DIGEST}  # asdict of the whole task would copy its values
    for name, value in members.items():
        if isinstance(value, ResourceAmounts | ScheduledTime):
            members[name] = dataclasses.asdict(value)
    return _digest({name: value for name, value in members.items() if value})


async def _existing(context: Context, input: TaskCreateInput, task: NewTask) -> int:
    existing = await tasks.find_by_key(context.db, input.idempotency_key or "")
    if existing is None:
        await check_predecessors(context, task)  # one may just have ended
    if existing is None and context.caller.user_id is not None:
        check_queue(await users.queue_limit(context.db, context.caller.user_id), input.workers)
    if existing is None and input.workspace is not None and input.workspace.file_id is not None:
        raise no_such_file(input.workspace.file_id)
    older = _digest(msgspec.to_builtins(input))  # as release 0.1.0 did it: its tasks may be created again
    if existing is None or existing.digest not in (task.digest, older):
        raise refusal("idempotency_conflict", "this idempotencyKey was used with other input")
    if context.caller.role == "developer" and existing.created_by != context.caller.account:
        raise refusal("idempotency_conflict", "this idempotencyKey was used by somebody else")
    return existing.task_id


def _new_task(
    input: TaskCreateInput, agents: tuple[str, ...], sealed_environment: str | None, actor: Actor | None
) -> NewTask:
    task = record_of(
        NewTask,
        msgspec.structs.asdict(input),
        agent=agents[0],
        agents=agents if len(agents) > 1 else (),
        requires=tuple(sorted({*input.requires, *_capabilities(input)})),
        resources=input.resources.to_model(),
        environment=input.env,
        sealed_environment=sealed_environment,
        workspace=_workspace(input.workspace, actor),
        pod=pod_members(input.pod),
        digest=b"",
        base_file=input.workspace.file_id if input.workspace else None,
        actor=actor,
        checks=msgspec.to_builtins(input.checks),
        budget=msgspec.to_builtins(input.budget),
        schedule=None,
        predecessors=parse_after(input.after),
        any_end=input.after_any_end,
    )
    return dataclasses.replace(task, digest=_digest_of(task))


def _workspace(workspace: Workspace | None, actor: Actor | None) -> Any:
    """Return what the jobs' workers get; caches with a scope, in which no other user has any."""
    members = msgspec.to_builtins(workspace)
    if workspace is not None and workspace.caches:
        account = (actor.account if actor else None) or ""
        scope = _digest([account, members.pop("cacheKey", "")])
        members["cacheScope"] = scope.hex()[:_SCOPE_CHARS]
    return members


def _capabilities(input: TaskCreateInput) -> list[str]:
    """Return the capabilities that the input requires besides ``requires``."""
    return [
        *([NO_NETWORK] if input.network == "none" else []),
        *([STDIN] if input.stdin else []),
        *([CHECKS] if input.checks else []),
        *([FOLLOWS_REF] if input.workspace and input.workspace.remote and not input.workspace.remote.commit else []),
        *([BROUGHT] if input.workspace and input.workspace.brought else []),
        *([capability_of(input.approve)] if input.approve else []),
        *([BUDGETS] if input.budget else []),
    ]


def _check_approval(input: TaskCreateInput, agent: str) -> None:
    """Raise BAD_REQUEST for an agent that cannot run under the approval, and for one that is hidden in ``requires``."""
    if hidden := next((name for name in input.requires if name in CAPABILITIES), None):
        raise refusal("invalid_input", f"requires: {hidden} is set by approve", field="requires")
    if input.approve and (why := why_impossible(agent, input.approve, stdin=input.stdin)):
        raise refusal("invalid_input", f"approve: {why}", hint="choose another, or another agent", field="approve")


def _check_limits(settings: AppSettings, input: TaskCreateInput) -> None:
    check_limit("prompt", len(input.prompt.encode()), settings.prompt_bytes)
    check_limit("workers", input.workers, settings.task_workers)
    check_limit(
        "env", sum(len(name.encode()) + len(value.encode()) for name, value in input.env.items()), settings.env_bytes
    )
    check_json_limit("labels", input.labels, LABELS_BYTES)
    check_json_limit("agentArgs", input.agent_args, AGENT_ARGS_BYTES)
    check_limit("requires", len(input.requires), 100)
    if not input.prompt.strip():
        raise refusal("invalid_input", "prompt: it is empty", field="prompt")
    for name in input.env:
        if not name or "=" in name or name.startswith("ADO_"):
            raise refusal("invalid_input", f"env: {name[:100]!r} may not be set by a task", field="env")
    if input.workspace is not None:
        check_workspace(input.workspace)
    if input.pod:
        check_json_limit("pod", msgspec.to_builtins(input.pod), POD_BYTES)
        check_pod(settings, input.pod)


async def get_task(context: Context, task_id: int, job: int | None = None) -> Task:
    """Return a task with its jobs, and the result of one job or all results that fit. Raises NOT_FOUND."""
    task = await tasks.get(context.db, task_id, job=job, result_limit=context.services.settings.body_bytes)
    if task is None:
        raise no_such_task(f"task-{task_id}")
    if job is not None and job >= task.workers:
        raise no_such_job(f"task-{task_id}/{job}")
    return Task.of(task)


@query(access=READ)
async def get(context: Context, input: GetInput) -> Task:
    """Return a task with its jobs. If the results do not fit an answer, the largest are left out."""
    task_id = parse_task(input.task_id)
    await check_may_see(context, task_id)
    task = await get_task(context, task_id, input.job)
    if input.explain and (obstacles := await tasks.obstacles(context.db, task_id)):
        queued, *_ = await jobs.counts(context.db)
        wait = wait_of(task, obstacles, queued, await autoscale.full(context.db, task_id))
        shown = fit(wait.workers, context.services.settings.body_bytes // 2)
        return replace(task, wait=replace(wait, workers=shown))
    if input.explain and (ends := await tasks.limit_ends(context.db, task_id)):
        return replace(task, wait=limits_wait(task, ends))
    return task


class Removed(Wire, omit_defaults=False):
    """The task that is gone."""

    task_id: str
    removed: bool


@mutation(access=RUN_TASKS)
async def remove(context: Context, input: TaskInput) -> Removed:
    """Delete an ended task with its log, values, environment and files. Its costs stay counted."""
    task_id = parse_task(input.task_id)
    await check_may_change(context, task_id)
    status = await tasks.remove(context.db, task_id, context.actor("tasks.remove"))
    if status is None:
        raise no_such_task(input.task_id)
    if status not in TERMINAL:
        raise refusal("task_running", f"task-{task_id} is {status}: only a task that has ended can be removed")
    return Removed(task_id=f"task-{task_id}", removed=True)


@mutation(access=RUN_TASKS)
async def cancel(context: Context, input: CancelInput) -> Task:
    """Stop a task. Repeating the call changes nothing."""
    task_id = parse_task(input.task_id)
    refuse_nul(reason=input.reason)
    await check_may_change(context, task_id)
    await tasks.cancel(context.db, task_id, input.reason, context.actor("tasks.cancel"))
    return await get_task(context, task_id)


@mutation(access=RUN_TASKS)
async def retry(context: Context, input: RetryInput) -> Task:
    """Queue the failed and cancelled jobs again, or one of them."""
    task_id = parse_task(input.task_id)
    await check_may_change(context, task_id)
    retried = await tasks.retry(context.db, task_id, context.actor("tasks.retry"), job=input.job)
    task = await get_task(context, task_id)
    if not retried:
        tried = [job for job in task.jobs if input.job in (None, job.job)]
        if not tried:
            raise no_such_job(f"{task.task_id}/{input.job}")
        state = await events.state(context.db, task_id)
        if state is not None and state.pruned:
            raise refusal("log_pruned", f"the log of {task.task_id} has been dropped, so the task cannot go on")
        again = sum(job.status in ("failed", "cancelled") for job in tried)
        check_queue(await users.queue_limit_of_task(context.db, task_id), again)
        if again and STDIN in task.requires:
            raise refusal("input_lost", f"the input of {task.task_id} went with its attempts")
        if again and await tasks.environment_forgotten(context.db, task_id):
            raise refusal("environment_forgotten", f"the --env values of {task.task_id} have been deleted")
        if again:
            await check_retry(context, task_id)
        raise _not_retried(task, input.job)
    return task


def _not_retried(task: Task, job: int | None) -> ProcedureError:
    if job is None:
        text = f"{task.task_id} is {task.status}: none of its jobs can be queued again"
        return refusal("nothing_to_retry", text)
    failed = next((one.job for one in task.jobs if one.status == "failed" and one.job != job), None)
    if task.on_failure == "fail_fast" and failed is not None:
        text = f"{task.task_id}/{job} would be stopped at once: job {failed} has failed, and one failure stops all jobs"
        return refusal("nothing_to_retry", text, hint=f"queue all of them again: ado retry {task.task_id}")
    return refusal("nothing_to_retry", f"{task.task_id}/{job} is {task.jobs[job].status}: it cannot be queued again")


@mutation(access=RUN_TASKS)
async def update(context: Context, input: UpdateInput) -> Task:
    """Change priority or labels, if the task is still at the version that the caller has seen."""
    task_id = parse_task(input.task_id)
    await check_may_change(context, task_id)
    if input.labels is not None:
        refuse_nul(labels=input.labels)
        check_json_limit("labels", input.labels, LABELS_BYTES)
    actor = context.actor("tasks.update")
    updated = await tasks.update(context.db, task_id, input.version, input.priority, input.labels, actor)
    task = await get_task(context, task_id)
    if not updated:
        raise refusal(
            "version_conflict",
            f"{task.task_id} is at version {task.version}, not {input.version}",
            version=task.version,
        )
    return task
