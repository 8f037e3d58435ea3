"""Arguments and options that several commands share, each with the text that ``--help`` shows of it."""

from __future__ import annotations

import os
from typing import Annotated, Literal

from cli.declarations import Group, Parameter, between

Output = Literal["text", "json", "jsonl", "name"]
OutputOption = Annotated[
    Output, Parameter(name=["--output", "-o"], group="Parameters", help="text, json, jsonl or name.")
]

AnyText = Annotated[str, Parameter(allow_leading_hyphen=True)]
"""A text that may begin with a dash."""
TaskArgument = Annotated[str, Parameter(help="The task's id.")]
ResultJob = Annotated[int | None, Parameter(help="Which job, if several changed something.")]
RawEvents = Annotated[bool, Parameter(help="Show the AI agent's own lines instead of what they mean.")]
Notify = Annotated[
    bool, Parameter(negative=(), help="Ring the terminal's bell, and show a note there, at an end and at a question.")
]
Tail = Annotated[int | None, Parameter(help="Only the last so many lines; as JSON or raw: output events.")]
Yes = Annotated[bool, Parameter(name=["--yes", "-y"], help="Do not ask.")]
Dsn = Annotated[str | None, Parameter(help="Do it directly on this database; ADO_DSN does the same.")]
UserRole = Literal["viewer", "developer", "operator", "admin"]
Port = Annotated[int | None, Parameter(validator=between(0, 65535))]

SERVER_GROUP = Group("Server", sort_key=9)


def _check_open(_type: object, descriptor: int | None) -> None:
    """Raise ValueError for a number that is not an open descriptor of this process."""
    if descriptor is not None:
        try:
            os.fstat(descriptor)
        except (OSError, OverflowError):
            raise ValueError(f"{descriptor} is no open descriptor") from None


Descriptor = Annotated[int | None, Parameter(show=False, validator=_check_open)]
"""An open descriptor that the parent process hands over; hidden in the help."""
