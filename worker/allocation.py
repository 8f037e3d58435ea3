"""Allocates ports and caches to an attempt for as long as a process of the attempt lives."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker.caches import CacheDirectory
from worker.ports import VARIABLE, bases, ephemeral_ports, parse_ports, reserved
from worker.processes.process import KeptProcess
from worker.settings import WorkerSettings


@dataclass(frozen=True, slots=True)
class Allocation:
    """The ports and caches of one attempt."""

    env: Mapping[str, str] = field(default_factory=dict)
    """Variables that say where it is."""
    held: tuple[int, ...] = ()
    """Descriptors that every process of the attempt keeps open; they hold the allocation."""


def port_ranges(settings: WorkerSettings) -> list[int]:
    """Return the first ports of the ranges that jobs may have. Raises ValueError."""
    return bases(parse_ports(settings.job_ports), ephemeral_ports())


@contextlib.asynccontextmanager
async def allocate(
    settings: WorkerSettings, home: Path | None = None, workspace: Mapping[str, Any] | None = None
) -> AsyncIterator[Allocation]:
    """Hold an allocation until the block and all processes of the attempt have ended. Raises OSError.

    The caches that a task's workspace names are in the job's HOME meanwhile.
    """
    with contextlib.ExitStack() as stack:
        env, held = {}, []
        if candidates := port_ranges(settings):
            base, guard = stack.enter_context(reserved(candidates))
            env[VARIABLE] = str(base)
            held.append(guard.fileno())
        names, scope = (workspace or {}).get("caches") or (), (workspace or {}).get("cacheScope") or ""
        if home is None or not names or not settings.cache_dir:
            yield Allocation(env, tuple(held))
            return
        caches = CacheDirectory(Path(settings.cache_dir), settings.cache_bytes)
        env |= await asyncio.to_thread(caches.move_in, scope, names, home)
        try:
            yield Allocation(env, tuple(held))
        finally:
            if not KeptProcess.survived:  # such a process could still write into a cache
                await asyncio.to_thread(caches.move_back, scope, home)
