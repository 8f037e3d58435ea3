"""``ado spawner``: starts workers for queued jobs, as processes of this machine or as pods."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from cli import local_runs
from cli.declarations import Parameter
from cli.errors import fail, usage
from cli.extras import need
from cli.parameters import Descriptor
from cli.server_start import stop_on_signals

_FIRST_LOOK_SECONDS = 10.0
_LOOK_SECONDS = 60.0


def spawner(
    *,
    backend: Literal["local", "kubernetes"] = "local",
    max: Annotated[int | None, Parameter(name="--max")] = None,
    url: str | None = None,
    work_dir: str | None = None,
    lifeline: Descriptor = None,
) -> None:
    """Run a spawner on ADO_DSN: it starts workers for queued jobs and ends idle ones.

    Parameters
    ----------
    backend
        Where workers run: processes of this machine, or pods of a cluster.
    max
        Most workers at once; with pods, in the namespace.
    url
        Origins of the API that its workers use, separated by commas.
    work_dir
        Where workers of this machine make the directories of their jobs.
    """
    need("kubernetes" if backend == "kubernetes" else "server")
    from app.core import logs
    from app.core.lifeline import on_end
    from app.core.settings import SettingsError, read
    from app.spawner.settings import SpawnerSettings
    from db.errors import DatabaseError

    logs.configure()
    stopping = threading.Event()
    stop_on_signals(stopping)
    if lifeline is not None:
        on_end(lifeline, stopping.set)
    try:
        settings = read(SpawnerSettings, max_workers=max, url=tuple(url.split(",")) if url else None, work_dir=work_dir)
        with _pool(settings.dsn) as pool:
            if backend == "local":
                _spawn_processes(settings, pool, stopping, lifeline)
            else:
                from app.spawner.pod_setup import pod_spawner

                pod_spawner(settings, pool).run(stopping)
    except SettingsError as error:
        raise usage(str(error), "ado help settings lists them") from error
    except DatabaseError as error:
        fail(error)


@contextlib.contextmanager
def _pool(dsn: str) -> Iterator[Any]:
    """Yield an open pool of database connections."""
    from db.sync_database import SyncPool

    pool = SyncPool(dsn, size=4)
    pool.open()
    try:
        yield pool
    finally:
        pool.close()


def _spawn_processes(settings: Any, pool: Any, stopping: threading.Event, lifeline: int | None) -> None:
    from app.core.private_files import ForeignOwner, ensure_directory
    from app.spawner.backends.local import LocalBackend
    from app.spawner.decide import SpawnerLimits
    from app.spawner.heartbeat import SpawnerHeartbeat
    from app.spawner.process_spawner import ProcessSpawner
    from db.spawning import SpawnerDatabase
    from worker.processes.keeper import become_subreaper
    from worker.sandbox.base import SandboxUnavailable

    become_subreaper()
    try:
        ensure_directory(Path(settings.work_dir))
    except ForeignOwner as error:
        step = "remove it, or name another directory with ADO_WORK_DIR (--work-dir)"
        raise usage(f"jobs cannot run in {settings.work_dir}: {error.strerror}", step) from error
    except OSError:
        pass  # its workers tell the server why they cannot run jobs
    named = "ADO_WORKER_CAPABILITIES" in os.environ  # else its workers offer what is here, as they run here
    hosts = tuple(f"git:{host}" for host in settings.git_hosts)
    try:
        capabilities, labels = (
            (local_runs.with_sandbox(settings.worker_capabilities), {}) if named else local_runs.offered()
        )
    except OSError as error:
        raise usage(f"the secrets cannot be read: {error}", "check ADO_SECRETS_DIR") from error
    except SandboxUnavailable as error:
        raise usage(str(error), error.next_step) from error
    local = LocalBackend(
        urls=settings.url,
        capabilities=(*capabilities, *hosts),
        labels=labels,
        work_dir=Path(settings.work_dir),
        lifeline=lifeline,
    )
    if not named:
        looking = threading.Thread(target=_look_again, args=(local, hosts, stopping), name="agents", daemon=True)
        looking.start()
    limits = SpawnerLimits(settings.max_workers, settings.idle_seconds, settings.start_seconds)
    try:
        heartbeat = SpawnerHeartbeat.of(pool, local.name, settings.max_workers)
        ProcessSpawner(SpawnerDatabase(pool), local, limits, heartbeat, interval=settings.spawner_seconds).run(stopping)
    finally:
        local.stop(settings.worker_stop_seconds)


def _look_again(local: Any, hosts: tuple[str, ...], stopping: threading.Event) -> None:
    """Look again and again what can start here: an agent may be installed, signed in or updated, or was slow to answer.

    The first look comes soon, because agents that did not answer at the start were probably started all at once.
    """
    from worker.sandbox.base import SandboxUnavailable

    pause = _FIRST_LOOK_SECONDS
    while not stopping.wait(pause):
        pause = _LOOK_SECONDS
        with contextlib.suppress(OSError, SandboxUnavailable):  # unknown for the moment: the capabilities stay
            capabilities, labels = local_runs.offered()
            local.set_spec((*capabilities, *hosts), labels)
