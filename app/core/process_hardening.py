"""Hides the memory, environment and descriptors of a process from other processes of its user.

A job without a sandbox has the user of its worker, and on one machine also that of the replicas. If a process is not
dumpable, Linux shows its ``/proc/PID/environ``, ``mem`` and ``fd`` only to root, lets no other process trace it, and
writes no core dump. The programs that it starts are dumpable again.
"""

from __future__ import annotations

import ctypes
import sys

_PR_SET_DUMPABLE = 4


def hide_process() -> None:
    """Make this process not dumpable; only Linux has this."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
