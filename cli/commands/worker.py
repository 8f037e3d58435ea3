"""``ado worker``: a worker that claims jobs and runs them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any

from cli.declarations import Parameter
from cli.parameters import Descriptor
from cli.worker_process import work


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """The settings of a worker that its command line can set; None leaves them to the environment."""

    url: Annotated[str | None, Parameter(help="Origins of the API, separated by commas.")] = None
    token_file: str | None = None
    "File with the worker's token. It is read again when the token may have been renewed."
    worker_id: Annotated[str | None, Parameter(name="--id")] = None
    "Name to register under."
    capabilities: Annotated[list[str] | None, Parameter(name="--capability")] = None
    """A capability to offer; may be used several times. By default shell, scripted, and every AI agent that can
    start."""
    labels: Annotated[list[str] | None, Parameter(name="--label")] = None
    "NAME=VALUE that it is listed with; may be used several times."
    slots: int | None = None
    "How many jobs run at once."
    work_dir: str | None = None
    "Where it makes the directories of its jobs."
    ca: str | None = None
    "CA in PEM to trust the server by, instead of the system's."
    client_cert: str | None = None
    "Certificate in PEM for a server that asks workers for one. It is read again when the file changes."
    client_key: str | None = None
    "Its key in PEM, where it is not in the same file."


_FROM_ENVIRONMENT = WorkerOptions()


def worker(*, settings: WorkerOptions = _FROM_ENVIRONMENT, lifeline: Descriptor = None) -> int:
    """Run a worker: it claims jobs and runs them."""
    values: dict[str, Any] = asdict(settings)
    if settings.url:
        values["url"] = tuple(settings.url.split(","))
    for name in ("capabilities", "labels"):
        values[name] = tuple(values[name]) if values[name] else None
    return work(lifeline, **values)
