"""Whether this machine can run the sandbox of jobs."""

import functools

from worker.sandbox.base import SandboxUnavailable
from worker.sandbox.bubblewrap import BubblewrapSandbox


@functools.cache
def works():
    """Return whether bubblewrap works here; CI installs it, but a container may forbid namespaces."""
    try:
        BubblewrapSandbox.detect()
    except SandboxUnavailable:
        return False
    return True
