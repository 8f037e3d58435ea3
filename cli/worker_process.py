"""Running a worker without the parser of options: a worker in a pod has all its settings in ``ADO_*`` variables.

The parser takes a quarter of the processor time of a worker's start. On Kubernetes every job waits for one such start,
with the share of a core that its pod has.
"""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

from cli.errors import usage


def work(lifeline: int | None = None, **overrides: Any) -> int:
    """Run a worker until it ends; settings in ``overrides`` replace the variables. Raises CliError."""
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
        raise usage(str(error), "ado help settings lists them") from error
    if not settings.url or not settings.token_file:
        raise usage("a worker needs --url and --token-file (or ADO_URL and ADO_TOKEN_FILE)", "see ado worker --help")
    signal.signal(signal.SIGTERM, _leave)  # the worker sets its own handler after it has checked its agents
    try:
        return run(settings, lifeline)
    except (CannotStart, SandboxUnavailable) as error:
        raise usage(str(error), error.next_step) from error
    except OSError as error:
        raise usage(
            f"the token or the secrets cannot be read: {error}", "check --token-file, ADO_SECRETS_DIR"
        ) from error


def _leave(_number: int, _frame: FrameType | None) -> None:
    """End by an exception, so that context managers clean up."""
    raise SystemExit(0)
