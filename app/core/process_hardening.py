"""Keep what a process holds from other processes of its user: memory, environment, descriptors and core dumps.

A job without a sandbox has the user of its worker, and on one machine that of the replicas too. Linux shows
``/proc/PID/environ``, ``mem`` and ``fd`` of a process that is not dumpable to root alone, lets nobody trace it and
writes no core dump of it. The programs that such a process starts are dumpable again.
"""

from __future__ import annotations

import ctypes
import sys

_PR_SET_DUMPABLE = 4


def hide_process() -> None:
    """Make this process not dumpable; nothing where the system has no such thing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
