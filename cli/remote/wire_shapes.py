"""The shape of each answer on which the command line relies; other members are ignored.

Most are records of ``app.client``. The others are of answers that programs get no records of, with only the members
that are used, so that servers of other releases pass: a member that may be absent may also be null.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

from msgspec import Meta, Struct

from app.client import administration
from app.client.fleet import Autoscale
from app.client.models import (
    ForgottenFailures,
    Job,
    Message,
    Question,
    QuestionList,
    Received,
    Removed,
    Scale,
    Task,
    TaskPage,
    Value,
    Values,
    Worker,
    WorkerList,
    WorkersStatus,
)
from app.client.records import Number, Time

T = TypeVar("T")
FileId = Annotated[str, Meta(pattern=r"^file-[0-9a-f]{32}$")]
Status = Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]


class Shape(Struct, rename="camel", kw_only=True):
    """Base of every answer; camelCase on the wire."""


class Page(Shape, Generic[T]):
    """A page of a list."""

    items: list[T]
    next_cursor: str | None = None


class ShownJob(Job, frozen=True, kw_only=True):
    """A job; a worker of somebody's own may report any result."""

    status: Status
    result: Any = None


class ShownTask(Task, frozen=True, kw_only=True):
    """A task with such jobs."""

    status: Status
    jobs: list[ShownJob]  # type: ignore[assignment]


class ShownTasks(TaskPage, frozen=True, kw_only=True):
    """A page of such tasks."""

    items: list[ShownTask]  # type: ignore[assignment]


class FileInfo(Shape):
    """A file of a task."""

    file_id: FileId
    kind: str
    size: Number
    sha256: Digest
    job: Number | None = None
    about: Any = None


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


class Health(Shape):
    """What is wrong with a replica, by part, and who holds its queue up."""

    problems: dict[str, str]
    warnings: dict[str, str] | None = None
    blockers: list[administration.Blocker] | None = None


class Event(Shape):
    """An event of a log. Further members are a job's own where it wrote the event, and may be anything."""

    seq: Number
    type: str
    at: Time | None
    stored_at: Time
    job: Number | None
    attempt: Number | None


class ShownOutput(Event):
    """Output of a job."""

    job: Number
    stream: Literal["stdout", "stderr"]
    data: str
    encoding: Literal["base64"] | None = None
    source: Literal["setup", "check"] | None = None


class Users(Shape):
    """Users, and the limits of their roles."""

    items: list[administration.User]
    roles: list[administration.RoleLimits]
    next_cursor: str | None = None


class NotificationTarget(Shape):
    """A webhook target and what became of its notifications; ``secret`` only when it is new."""

    target_id: str
    url: str
    on: list[str]
    labels: dict[str, str]
    mine: bool
    created_by: str | None = None
    secret: str | None = None
    waiting: Number = 0
    delivered: Number = 0
    failed: Number = 0
    last_error: str | None = None


ANSWERS: dict[str, Any] = {
    **dict.fromkeys(("tasks.create", "tasks.get", "tasks.cancel", "tasks.retry", "tasks.update"), ShownTask),
    **dict.fromkeys(("tasks.pause", "tasks.resume", "tasks.pick"), ShownTask),
    "tasks.list": ShownTasks,
    "tasks.input": Received,
    "tasks.send": Message,
    "tasks.remove": Removed,
    "tasks.kvGet": Value | None,
    "tasks.kvList": Values,
    **dict.fromkeys(("tasks.kvSet", "tasks.kvCas"), Value),
    **dict.fromkeys(("tasks.ask", "tasks.answer", "questions.answer"), Question),
    "questions.list": QuestionList,
    "notifications.add": NotificationTarget,
    "notifications.list": Page[NotificationTarget],
    "notifications.remove": administration.TargetRemoved,
    "notifications.test": administration.TargetTested,
    **dict.fromkeys(("templates.save", "templates.get"), administration.TaskTemplate),
    "templates.list": Page[administration.TemplateSummary],
    "templates.remove": administration.TemplateRemoved,
    **dict.fromkeys(("schedules.add", "schedules.pause", "schedules.resume"), administration.Schedule),
    "schedules.list": Page[administration.Schedule],
    "schedules.remove": administration.ScheduleRemoved,
    "workers.status": WorkersStatus,
    "workers.list": WorkerList,
    "workers.drain": Worker,
    "workers.scale": Scale,
    **dict.fromkeys(("workers.autoscale", "workers.autoscaleRemove"), Autoscale),
    "workers.resetAgent": ForgottenFailures,
    "files.list": Page[FileInfo],
    **dict.fromkeys(("files.begin", "files.write"), Begun),
    "files.read": Piece,
    "sessions.code": administration.SessionCode,
    "tokens.create": Token,
    "tokens.revoke": RevokedToken,
    "tokens.list": Page[ListedToken],
    "audit.list": Page[dict[str, Any]],
    "system.health": Health,
    **dict.fromkeys(("users.add", "users.set", "users.disable"), administration.User),
    "users.limitRole": administration.RoleLimits,
    "users.list": Users,
    "users.whoami": administration.Me,
    **dict.fromkeys(("stream.taskEvents", "stream.taskOutput", "stream.taskProgress"), Event),
}
"""By procedure: the answer, or each item of a subscription."""
