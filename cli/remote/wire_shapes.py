"""The members of a server's answers on which the command line relies; other members are ignored.

They are stricter than the records of ``app.client``: ids become parts of refs, paths and suggested commands, and
numbers are added to times. They are also shorter, so that servers of other releases pass: a member that may be absent
may also be null.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

TaskId = Annotated[str, Meta(pattern=r"^task-[0-9]{1,19}$")]
JobId = Annotated[str, Meta(pattern=r"^task-[0-9]{1,19}/[0-9]{1,9}$")]
QuestionId = Annotated[str, Meta(pattern=r"^question-[0-9]{1,19}$")]
FileId = Annotated[str, Meta(pattern=r"^file-[0-9a-f]{32}$")]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
Number = Annotated[int, Meta(ge=0, le=2**62)]
Integer = Annotated[int, Meta(ge=-(2**62), le=2**62)]
Amount = Annotated[float, Meta(ge=0, le=1e30)]
Jobs = Annotated[int, Meta(ge=1, le=100_000)]
Time = Annotated[datetime, Meta(tz=True)]
Status = Literal["queued", "paused", "running", "succeeded", "failed", "cancelled"]


class Shape(Struct, rename="camel", kw_only=True):
    """Base of every answer; camelCase on the wire."""


class Pod(Shape):
    """The pod of a queued job."""

    name: str
    reason: str | None = None
    message: str | None = None
    hint: str | None = None


class Usage(Shape):
    """What an agent used."""

    input_tokens: Amount | None = None
    output_tokens: Amount | None = None
    cache_read_tokens: Amount | None = None
    cost_usd: Amount | None = None


class Job(Shape):
    """One job of a task."""

    job_id: JobId
    job: Number
    status: Status
    attempt: Number
    worker_id: str | None = None
    exit_code: Integer | None = None
    reason: str | None = None
    message: str | None = None
    usage: Usage | None = None
    dropped_bytes: Number | None = None
    retry_at: Time | None = None
    started_at: Time | None = None
    finished_at: Time | None = None
    pod: Pod | None = None


class WorkerObstacle(Shape):
    """What keeps a live worker from a queued job."""

    worker_id: str
    state: str
    help: str
    unmet: str | None = None


class Wait(Shape):
    """Why a task waits."""

    why: str
    workers: list[WorkerObstacle]
    reason: str | None = None


class Checks(Shape):
    """The setup and checks of a task."""

    commands: list[str]
    setup: str | None = None


class Task(Shape):
    """A task with its jobs."""

    task_id: TaskId
    status: Status
    prompt: str
    agent: str
    workers: Jobs
    requires: list[str]
    resources: dict[str, Amount]
    priority: Integer
    labels: dict[str, str]
    version: Number
    created_at: Time
    jobs: list[Job]
    reason: str | None = None
    message: str | None = None
    failed_job: Number | None = None
    timeout_seconds: Amount | None = None
    wait: Wait | None = None
    stdin: bool | None = None
    checks: Checks | None = None
    started_at: Time | None = None
    finished_at: Time | None = None


class Listed(Shape):
    """A task in a list."""

    task_id: TaskId
    status: Status
    prompt: str
    agent: str
    workers: Jobs
    created_at: Time


class Tasks(Shape):
    """A page of tasks."""

    items: list[Listed]
    next_cursor: str | None = None


class Received(Shape):
    """How much of a job's input has come."""

    acknowledged: Number


class Removed(Shape):
    """A task that is gone."""

    task_id: TaskId


class Held(Shape):
    """An attempt that a worker holds."""

    job_id: JobId
    attempt: Number


class Worker(Shape):
    """A worker."""

    worker_id: str
    state: str
    capabilities: list[str]
    resources: dict[str, Amount]
    free: dict[str, Amount]
    slots: Number
    jobs: list[Held]
    labels: dict[str, str]
    host: str | None = None
    problem: str | None = None


class Workers(Shape):
    """A page of workers, by id."""

    items: list[Worker]
    next_cursor: str | None = None


class Queue(Shape):
    """What waits and what runs."""

    queued: Number
    running: Number


class Spawner(Shape):
    """A process that starts workers."""

    spawner_id: str
    state: str
    capabilities: list[str]
    last_heartbeat_at: Time
    problem: str | None = None


class WorkersStatus(Shape):
    """The workers, the spawners and the queue."""

    workers: list[Worker]
    counts: dict[str, Number]
    queue: Queue
    spawners: list[Spawner] = []
    next_cursor: str | None = None


class Scale(Shape):
    """How many workers are kept."""

    count: Number


class Value(Shape):
    """A value of a task's store."""

    key: str
    value: Any
    version: Number


class Values(Shape):
    """Values of a task's store."""

    items: list[Value]


class QuestionOption(Shape):
    """One answer to choose."""

    id: str
    label: str


class GivenAnswer(Shape):
    """An option's id, or a text."""

    choice: str | None = None
    text: str | None = None


class Question(Shape):
    """A question of a job."""

    question_id: QuestionId
    task_id: TaskId
    job: Number
    text: str
    options: list[QuestionOption]
    state: Literal["open", "answered", "expired", "closed"]
    created_at: Time
    answer: GivenAnswer | None = None
    by: str | None = None


class Questions(Shape):
    """A page of questions."""

    items: list[Question]
    next_cursor: str | None = None


class FileInfo(Shape):
    """A file of a task."""

    file_id: FileId
    kind: str
    size: Number
    sha256: Digest
    job: Number | None = None
    about: Any = None


class Files(Shape):
    """A page of the files of a task."""

    items: list[FileInfo]
    next_cursor: str | None = None


class Begun(Shape):
    """How a file is to be sent."""

    file_id: FileId
    chunk_bytes: Annotated[int, Meta(ge=1, le=16 * 1024 * 1024)]


class Piece(Shape):
    """A part of a file, as base64."""

    data: str


class Token(Shape):
    """A token, with its secret when it was just made."""

    token_id: str
    role: str
    token: str | None = None
    worker_id: str | None = None
    created_at: Time | None = None
    expires_at: Time | None = None
    revoked_at: Time | None = None


class RevokedToken(Shape):
    """A token that is valid no more."""

    token_id: str
    revoked_at: Time | None = None


class ListedToken(Token, kw_only=True):
    """A token in a list."""

    created_at: Time


class Tokens(Shape):
    """A page of tokens."""

    items: list[ListedToken]
    next_cursor: str | None = None


class Audited(Shape):
    """A page of the audit."""

    items: list[dict[str, Any]]
    next_cursor: str | None = None


class Blocker(Shape):
    """A database session that holds others up."""

    pid: Integer
    blocked: Number
    waiting_since: Time
    role: str | None = None
    application: str | None = None
    state: str | None = None
    transaction_at: Time | None = None


class Health(Shape):
    """What is wrong with a replica, by part, and who holds its queue up."""

    problems: dict[str, str]
    warnings: dict[str, str] | None = None
    blockers: list[Blocker] | None = None


class Event(Shape):
    """An event of a log, with the members that are shown of any type."""

    seq: Number
    type: str
    at: Time | None
    stored_at: Time
    job: Number | None
    attempt: Number | None
    stream: Literal["stdout", "stderr"] | None = None
    data: str | None = None
    encoding: Literal["base64"] | None = None
    source: Literal["setup", "check"] | None = None


class RoleLimits(Shape):
    """The limits of a role's users."""

    role: str
    running: Number | None = None
    queued: Number | None = None
    cost_per_day: Amount | None = None


class User(RoleLimits, kw_only=True):
    """One user."""

    user_id: str
    name: str
    disabled: bool
    email: str | None = None


class Users(Shape):
    """Users, and the limits of their roles."""

    items: list[User]
    roles: list[RoleLimits]
    next_cursor: str | None = None


class Me(Shape):
    """Who calls."""

    name: str
    role: str
    token_id: str
    user_id: str | None = None
    token_name: str | None = None


class MessageJob(Shape):
    """A job that a message is for."""

    job: Number
    state: str


class Message(Shape):
    """Words to the agents of a task's jobs."""

    message_id: Annotated[str, Meta(pattern=r"^message-[0-9]{1,19}$")]
    task_id: TaskId
    state: str
    jobs: list[MessageJob]


ANSWERS: dict[str, Any] = {
    **dict.fromkeys(("tasks.create", "tasks.get", "tasks.cancel", "tasks.retry", "tasks.update"), Task),
    "tasks.list": Tasks,
    "tasks.input": Received,
    "tasks.send": Message,
    "tasks.remove": Removed,
    "tasks.kvGet": Value | None,
    "tasks.kvList": Values,
    **dict.fromkeys(("tasks.kvSet", "tasks.kvCas"), Value),
    **dict.fromkeys(("tasks.ask", "tasks.answer", "questions.answer"), Question),
    "questions.list": Questions,
    "workers.status": WorkersStatus,
    "workers.list": Workers,
    "workers.drain": Worker,
    "workers.scale": Scale,
    "files.list": Files,
    **dict.fromkeys(("files.begin", "files.write"), Begun),
    "files.read": Piece,
    "tokens.create": Token,
    "tokens.revoke": RevokedToken,
    "tokens.list": Tokens,
    "audit.list": Audited,
    "system.health": Health,
    **dict.fromkeys(("users.add", "users.set", "users.disable"), User),
    "users.limitRole": RoleLimits,
    "users.list": Users,
    "users.whoami": Me,
    **dict.fromkeys(("stream.taskEvents", "stream.taskOutput", "stream.taskProgress"), Event),
}
"""By procedure: the answer, or each item of a subscription."""
