"""Running a worker, without the parser of options: a pod's worker is told everything by ``ADO_*`` variables.

The parser costs a quarter of the processor time that a worker takes to start, and every job on Kubernetes pays for one
start at whatever share of a core its pod has.
"""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

from cli.errors import usage


def work(lifeline: int | None = None, **overrides: Any) -> int:
    """Run a worker until it has ended; ``overrides`` settings win over variables. Raises CliError."""
    from cli.extras import need

    need("worker")
    from app.core import logs
    from app.core.settings import SettingsError, read
    from worker.capabilities import CannotStart
    from worker.main import run
    from worker.sandbox.base import SandboxUnavailable
    from worker.settings import WorkerSettings

    logs.configure()
    try:
        settings = read(WorkerSettings, **overrides)
    except SettingsError as error:
        raise usage(str(error), "deploy/CONFIGURATION.md lists the settings") from error
    if not settings.url or not settings.token_file:
        raise usage("a worker needs --url and --token-file (or ADO_URL and ADO_TOKEN_FILE)", "see ado worker --help")
    signal.signal(signal.SIGTERM, _leave)  # the worker's own comes once it has looked at its agents
    try:
        return run(settings, lifeline)
    except (CannotStart, SandboxUnavailable) as error:
        raise usage(str(error), error.next_step) from error
    except OSError as error:
        raise usage(
            f"the token or the secrets cannot be read: {error}", "check --token-file, ADO_SECRETS_DIR"
        ) from error


def _leave(_number: int, _frame: FrameType | None) -> None:
    """End in order, so that what was begun is also cleared away."""
    raise SystemExit(0)
