"""``ado worker``: a worker that claims jobs and runs them."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from cli.parameters import Descriptor
from cli.worker_process import work


def worker(
    *,
    url: str | None = None,
    token_file: str | None = None,
    id: Annotated[str | None, Parameter(name="--id")] = None,
    capability: list[str] | None = None,
    label: list[str] | None = None,
    slots: int | None = None,
    work_dir: str | None = None,
    ca: str | None = None,
    client_cert: str | None = None,
    client_key: str | None = None,
    lifeline: Descriptor = None,
) -> int:
    """Run a worker: it claims jobs and runs them.

    Parameters
    ----------
    url
        Origins of the API, divided by commas.
    token_file
        File with the worker's token; it is read again when the token may have been renewed.
    id
        Name to register under.
    capability
        What it offers; may be given several times. By default shell, scripted, and every AI agent that can start.
    label
        NAME=VALUE that it is listed with; may be given several times.
    slots
        Jobs at once.
    work_dir
        Where it makes the directories of its jobs.
    ca
        CA in PEM to trust the server by, in place of the system's.
    client_cert
        Certificate in PEM to show a server that asks workers for one; read again when the file changes.
    client_key
        Its key in PEM, where it is not in the same file.
    """
    return work(
        lifeline,
        url=tuple(url.split(",")) if url else None,
        token_file=token_file,
        worker_id=id,
        capabilities=tuple(capability) if capability else None,
        labels=tuple(label) if label else None,
        slots=slots,
        work_dir=work_dir,
        ca=ca,
        client_cert=client_cert,
        client_key=client_key,
    )
