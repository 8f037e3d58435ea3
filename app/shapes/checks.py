"""The commands around a task's agent. No database driver is imported here: runs without a server have them as well."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

Command = Annotated[str, Meta(min_length=1, max_length=10_000, pattern=r"\S")]
"""A command line for ``/bin/sh``."""


class Checks(Struct, rename="camel", kw_only=True):
    """Commands around the agent: ``setup`` before it, and those that decide after its turn whether its work is done.

    A command that takes longer than ``timeoutSeconds`` is ended, and has failed.
    """

    setup: Command | None = None
    commands: Annotated[list[Command], Meta(max_length=20)] = []
    tries: Annotated[int, Meta(ge=1, le=100)] = 3
    """How often an attempt may run the checks; a check that fails before the last time goes back to the agent."""
    timeout_seconds: Annotated[float, Meta(gt=0, le=86_400)] = 600.0
