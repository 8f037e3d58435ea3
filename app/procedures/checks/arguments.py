"""Checks of a call's arguments: sizes, texts, times, base64, and what a task may choose for its pods.

Each raises BAD_REQUEST and names the field, before the value reaches the database.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Annotated, Any, TypeAlias

import msgspec
import orjson
from msgspec import Meta

from app.core.reasons import refusal
from app.settings import AppSettings
from app.shapes.records import Wire

LABELS_BYTES = 16 * 1024
AGENT_ARGS_BYTES = 64 * 1024
USAGE_BYTES = 4 * 1024
"""Of tokens and cost; one answer may have those of a thousand jobs."""
LOAD_BYTES = 4 * 1024
ABOUT_BYTES = 64 * 1024
POD_BYTES = 16 * 1024
SCALE_BYTES = 2000
"""Of the capabilities to keep workers for. They are a key, and an index of Postgres takes 2,704 bytes."""
CAPABILITIES = 200

_INFINITE = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))

Since: TypeAlias = datetime | Annotated[float, Meta(ge=0, le=1e10)] | None
"""A time (without a zone: UTC), or a number of seconds ago."""


class Pod(Wire):
    """Image and node of a task's pods; the operator's settings say which are allowed."""

    image: Annotated[str, Meta(min_length=1, max_length=1000, pattern=r"^\S+$")] | None = None
    node_selector: dict[str, str] = {}


def check_limit(field: str, size: int, limit: int) -> None:
    """Raise BAD_REQUEST when a size or count is above its limit."""
    if size > limit:
        raise refusal("limit_exceeded", f"{field}: {size} is more than the limit of {limit}", field=field, limit=limit)


def check_json_limit(field: str, value: Any, limit: int) -> None:
    """Raise BAD_REQUEST when a value takes more bytes as JSON than its limit."""
    try:
        size = len(orjson.dumps(value))
    except TypeError:  # orjson reads 1024 levels and writes 254
        raise refusal("invalid_input", f"{field}: it is nested too deeply", field=field) from None
    check_limit(field, size, limit)


def refuse_nul(**fields: Any) -> None:
    """Raise BAD_REQUEST when a text anywhere in a field has a NUL.

    Postgres stores no NUL in a text. In JSON it stores one, and fails when the text is read. Values that are stored as
    the caller's own JSON (a key's value, a result) and an event's data may have NULs, because no query reads into them.
    """
    for field, value in fields.items():
        if _has_nul(value):
            raise refusal("invalid_input", f"{field}: a text in it has a NUL, which cannot be stored", field=field)


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, Mapping):
        return any(_has_nul(key) or _has_nul(item) for key, item in value.items())
    return isinstance(value, list | tuple) and any(_has_nul(item) for item in value)


def in_utc(field: str, at: datetime) -> datetime:
    """Return a time in UTC; one without a zone is UTC already. Raises BAD_REQUEST for one outside UTC's range.

    The first and the last microsecond count as outside: the database's driver takes them for infinity.
    """
    try:
        moment = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except OverflowError:
        moment = None
    if moment in (None, *_INFINITE):
        raise refusal("invalid_input", f"{field}: it is outside the years 1 to 9999", field=field)
    return moment


def since_time(since: Since, field: str = "since") -> datetime | None:
    """Return the time of the field ``since``, or of another of its kind. Raises BAD_REQUEST."""
    if since is None or isinstance(since, datetime):
        return since and in_utc(field, since)
    return datetime.now(UTC) - timedelta(seconds=since)


def decode_base64(field: str, text: str) -> bytes:
    """Return the bytes that a text of base64 stands for. Raises BAD_REQUEST."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise refusal("invalid_input", f"{field}: it is not base64", field=field) from None


def check_pod(settings: AppSettings, pod: Pod) -> None:
    """Raise FORBIDDEN for an image or node label that tasks may not choose."""
    if pod.image and not any(fnmatchcase(pod.image, allowed) for allowed in settings.task_images):
        _refuse_pod("image", pod.image, settings.task_images)
    for name in pod.node_selector:
        if name not in settings.task_node_labels:
            _refuse_pod("node label", name, settings.task_node_labels)


def _refuse_pod(kind: str, value: str, allowed: tuple[str, ...]) -> None:
    names = ", ".join(allowed) or "none"
    raise refusal("not_allowed", f"pod: {kind} {value[:200]!r} is not among those allowed: {names}", field="pod")


def pod_members(pod: Pod | None) -> dict[str, Any] | None:
    """Return a pod's members as JSON has them; None when it chooses nothing."""
    return (msgspec.to_builtins(pod) or None) if pod else None
