"""The procedures ``notifications.*``: webhook targets that are notified when tasks end and when jobs ask.

Authority: everybody who may run tasks adds targets, and sees and removes own ones; operators and administrators see and
remove all. A developer's target is notified only of own tasks. The rules are applied when a notification is made, so a
change of a user's role counts for targets that exist.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlsplit

import orjson
from msgspec import UNSET, Meta, UnsetType

from app.access.auth import RUN_TASKS
from app.access.context import Context
from app.client import administration
from app.core.reasons import refusal
from app.notifications.addresses import AddressRefused, parse_url, resolve
from app.notifications.delivery import DeliveryFailed
from app.notifications.webhook import new_secret
from app.procedures.checks.arguments import LABELS_BYTES, check_json_limit, refuse_nul
from app.procedures.checks.ids import PublicId
from app.procedures.checks.ownership import only_own
from app.rpc.server.procedure import mutation, query
from app.shapes.records import RecordShape, Wire, or_unset
from db import notifications
from db.notifications import NewTarget, NotificationEvent, SigningKey, TargetFormat, TargetRow

TARGETS = 20
"""The most targets of one user or service: the end of each task looks at all targets."""
_LISTED = 1000
_EVENTS: tuple[NotificationEvent, ...] = ("question", "succeeded", "failed")
_ID = PublicId("notify", "target")


class TargetAddInput(Wire):
    """A new target. ``on``: of which events (default: all but cancelled); ``mine``: only of the caller's own tasks."""

    url: Annotated[str, Meta(min_length=1, max_length=2000)]
    on: Annotated[list[NotificationEvent], Meta(min_length=1, max_length=10)] | None = None
    labels: dict[str, str] = {}
    format: TargetFormat = "json"
    mine: bool = False


class TargetInput(Wire):
    """A target by its id."""

    target_id: str


class TargetsInput(Wire):
    """Nothing: all targets that the caller may see are listed."""


class NotificationTarget(Wire, omit_defaults=False):
    """A target. For others than its creator ``url`` ends after the host, because some services put keys into paths."""

    target_id: str
    url: str
    on: list[NotificationEvent]
    labels: dict[str, str]
    format: TargetFormat
    mine: bool
    created_at: datetime
    created_by: str | UnsetType = UNSET

    @classmethod
    def of(cls, target: TargetRow, context: Context, **members: Any) -> NotificationTarget:
        """Make the shape of a record, as the caller may see it."""
        url = target.url
        if target.created_by != context.caller.account:
            parts = urlsplit(url)
            url = f"{parts.scheme}://{parts.netloc}/…"
        return cls.from_record(
            target,
            target_id=f"notify-{target.target_id}",
            url=url,
            on=target.events,
            created_by=or_unset(target.creator_name),
            **members,
        )


class NewNotificationTarget(NotificationTarget, omit_defaults=False, kw_only=True):
    """A new target with the key of its signatures, which is never shown again."""

    secret: str


class TargetDeliveries(NotificationTarget, omit_defaults=False, kw_only=True):
    """A target, and how many notifications wait, were delivered and were given up in the last week."""

    waiting: int
    delivered: int
    failed: int
    last_error: str | UnsetType = UNSET


class NotificationTargets(Wire, omit_defaults=False):
    """The targets, oldest first."""

    items: list[TargetDeliveries]


class TargetRemoved(administration.TargetRemoved, RecordShape, frozen=True, kw_only=True):
    """The target has been removed."""


class TargetTested(administration.TargetTested, RecordShape, frozen=True, kw_only=True):
    """Whether a test arrived; ``error`` says why not."""


@mutation(access=RUN_TASKS)
async def add(context: Context, input: TargetAddInput) -> NewNotificationTarget:
    """Add a target; the answer has the key with which its notifications are signed."""
    refuse_nul(url=input.url, labels=input.labels)
    check_json_limit("labels", input.labels, LABELS_BYTES)
    await _check_address(context, input.url)
    secret = new_secret()
    sealed = context.services.cipher.seal({"secret": secret})
    new = NewTarget(
        url=input.url,
        format=input.format,
        events=sorted(set(input.on or _EVENTS)),
        labels=input.labels,
        mine=input.mine or context.caller.role == "developer",
        key=SigningKey(None if sealed else secret, sealed),
        created_by=context.caller.account,
    )
    actor = context.actor("notifications.add")
    stored = await notifications.add_target(context.db, new, most=TARGETS, actor=actor)
    if stored is None:
        text = f"you have {TARGETS} targets, which is the limit"
        raise refusal("limit_exceeded", text, hint="remove one first: ado notify remove TARGET", limit=TARGETS)
    made = NotificationTarget.of(stored, context)
    return NewNotificationTarget.from_record(made, secret=secret)


async def _check_address(context: Context, url: str) -> None:
    """Refuse an address at once where it is clear; each delivery checks again."""
    hosts = context.services.notification_sender.named_hosts
    try:
        await resolve(parse_url(url, hosts), hosts)
    except AddressRefused as error:
        raise refusal("target_refused", f"url: {error}", field="url") from None
    except (OSError, UnicodeError):
        raise refusal("target_refused", "url: its host has no address", field="url") from None


@query(access=RUN_TASKS)
async def listing(context: Context, input: TargetsInput) -> NotificationTargets:
    """Return the caller's targets; for operators and administrators, everybody's."""
    rows = await notifications.targets(context.db, only_own(context), _LISTED)
    return NotificationTargets(
        items=[
            TargetDeliveries.from_record(
                NotificationTarget.of(row.target, context),
                waiting=row.waiting,
                delivered=row.delivered,
                failed=row.failed,
                last_error=or_unset(row.last_error),
            )
            for row in rows
        ]
    )


@mutation(access=RUN_TASKS)
async def remove(context: Context, input: TargetInput) -> TargetRemoved:
    """Remove a target; what waits for it is dropped."""
    number = _ID.parse(input.target_id)
    actor = context.actor("notifications.remove")
    if not await notifications.remove_target(context.db, number, only_own(context), actor):
        raise _ID.unknown(input.target_id)
    return TargetRemoved(target_id=f"notify-{number}")


@mutation(access=RUN_TASKS)
async def test(context: Context, input: TargetInput) -> TargetTested:
    """Send a test to a target at once, and say whether it arrived."""
    number = _ID.parse(input.target_id)
    stored = await notifications.target(context.db, number)
    if stored is None or only_own(context) not in (None, stored[0].created_by):
        raise _ID.unknown(input.target_id)
    target, key = stored
    now = datetime.now(UTC)
    body = {"type": "test", "timestamp": now.isoformat(), "data": {"targetId": f"notify-{number}"}}
    message_id = f"test-{number}-{int(now.timestamp() * 1000)}"
    try:
        sender = context.services.notification_sender
        await sender.send(target.url, target.format, key, message_id, orjson.dumps(body).decode())
    except DeliveryFailed as error:
        return TargetTested(target_id=f"notify-{number}", delivered=False, error=str(error))
    return TargetTested(target_id=f"notify-{number}", delivered=True)
