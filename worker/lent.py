"""What a machine lends to an attempt for as long as a process of the attempt lives: ports."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from worker.ports import VARIABLE, bases, ephemeral_ports, parse_ports, reserved
from worker.settings import WorkerSettings


@dataclass(frozen=True, slots=True)
class Lent:
    """What an attempt has borrowed."""

    env: Mapping[str, str] = field(default_factory=dict)
    """Variables that say where it is."""
    held: tuple[int, ...] = ()
    """Descriptors that every process of the attempt keeps open; they hold what is lent."""


@contextlib.asynccontextmanager
async def lent(settings: WorkerSettings) -> AsyncIterator[Lent]:
    """Lend what the machine has until the block and all processes of the attempt have ended. Raises OSError."""
    with contextlib.ExitStack() as stack:
        env, held = {}, []
        if candidates := bases(parse_ports(settings.job_ports), ephemeral_ports()):
            base, guard = stack.enter_context(reserved(candidates))
            env[VARIABLE] = str(base)
            held.append(guard.fileno())
        yield Lent(env, tuple(held))
