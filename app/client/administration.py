"""Records of what administrators and the command line read: users, templates, schedules, webhook targets, locks.

Programs have no methods for them.
"""

from __future__ import annotations

from typing import Any

from app.client.records import Amount, Integer, Number, Record, Time


class SessionCode(Record, frozen=True, kw_only=True):
    """A code for one use."""

    code: str
    expires_at: Time


class Blocker(Record, frozen=True, kw_only=True):
    """A database session that holds others up."""

    pid: Integer
    blocked: Number
    waiting_since: Time
    role: str | None = None
    application: str | None = None
    state: str | None = None
    transaction_at: Time | None = None


class RoleLimits(Record, frozen=True, kw_only=True):
    """The limits of a role's users."""

    role: str
    running: Number | None = None
    queued: Number | None = None
    cost_per_day: Amount | None = None


class User(Record, frozen=True, kw_only=True):
    """One user."""

    user_id: str
    name: str
    role: str
    disabled: bool
    email: str | None = None
    running: Number | None = None
    queued: Number | None = None
    cost_per_day: Amount | None = None


class Me(Record, frozen=True, kw_only=True):
    """Who calls."""

    name: str
    role: str
    token_id: str
    user_id: str | None = None
    token_name: str | None = None


class TargetTested(Record, frozen=True, kw_only=True):
    """Whether a test arrived."""

    target_id: str
    delivered: bool
    error: str | None = None


class TargetRemoved(Record, frozen=True, kw_only=True):
    """A target that has been removed."""

    target_id: str


class TaskTemplate(Record, frozen=True, kw_only=True):
    """A template; ``left_out`` only when it is saved from a task."""

    name: str
    task: dict[str, Any]
    variables: list[str]
    saved_at: Time
    saved_by: str | None = None
    left_out: list[str] | None = None


class TemplateSummary(Record, frozen=True, kw_only=True):
    """A template in a list."""

    name: str
    prompt: str
    agent: str
    saved_at: Time
    saved_by: str | None = None


class TemplateRemoved(Record, frozen=True, kw_only=True):
    """A template that is gone."""

    name: str


class Schedule(Record, frozen=True, kw_only=True):
    """A schedule and how it went."""

    schedule_id: str
    template: str
    cron: str
    timezone: str
    variables: dict[str, str]
    state: str
    runs: Number
    skipped_times: Number
    missed_times: Number
    next_at: Time | None = None
    retry_at: Time | None = None
    problem: str | None = None
    last_at: Time | None = None
    last_task_id: str | None = None
    last_status: str | None = None


class ScheduleRemoved(Record, frozen=True, kw_only=True):
    """A schedule that runs no more."""

    schedule_id: str
