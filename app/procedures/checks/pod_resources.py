"""What a task may ask of the pods that run its jobs."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from app.core.reasons import refusal
from app.settings import AppSettings
from app.shapes.records import Wire


class Pod(Wire):
    """Image and node of a task's pods; only as far as the operator's settings allow it."""

    image: Annotated[str, Meta(min_length=1, max_length=1000, pattern=r"^\S+$")] | None = None
    node_selector: dict[str, str] = {}


def wish_of(pod: Pod | None) -> dict[str, Any] | None:
    """Return what is asked for; None when it is nothing."""
    return (msgspec.to_builtins(pod) or None) if pod else None


def check(settings: AppSettings, pod: Pod) -> None:
    """Raise FORBIDDEN for an image or node label that tasks may not choose."""
    if pod.image and not any(fnmatchcase(pod.image, allowed) for allowed in settings.task_images):
        _refuse("image", pod.image, settings.task_images)
    for name in pod.node_selector:
        if name not in settings.task_node_labels:
            _refuse("node label", name, settings.task_node_labels)


def _refuse(what: str, asked: str, allowed: tuple[str, ...]) -> None:
    said = ", ".join(allowed) or "none"
    raise refusal("not_allowed", f"pod: {what} {asked[:200]!r} is not among those allowed: {said}", field="pod")
