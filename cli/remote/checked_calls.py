"""Clients that refuse an answer whose shape the command line does not expect."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cli.remote.contexts import ServerContext

if TYPE_CHECKING:
    from app.rpc.client import Client, State


def socket(
    server: ServerContext,
    *,
    on_state: Callable[[State], None] | None = None,
    first_contact_seconds: float | None = None,
) -> Client:
    """Return a client for streams."""
    from app.rpc.client import Client

    return Client(
        server.urls,
        server.token,
        trust=server.trust,
        on_state=on_state,
        first_contact_seconds=first_contact_seconds,
        check=check,
    )


def check(path: str, value: Any) -> None:
    """Raise ValueError for an answer that does not have the shape of its procedure."""
    import msgspec

    from cli.remote.wire_shapes import ANSWERS, Event, ShownOutput, ShownTask

    shape = ANSWERS.get(path)
    if shape is None:
        return
    msgspec.convert(value, shape)
    # tasks.get with a job answers with this job alone
    if shape is ShownTask and len(value["jobs"]) not in (1, value["workers"]):
        raise ValueError(f"it has {value['workers']} jobs and lists {len(value['jobs'])}")
    if shape is Event and value["type"] == "output":
        output = msgspec.convert(value, ShownOutput)
        if output.encoding == "base64":
            base64.b64decode(output.data, validate=True)
