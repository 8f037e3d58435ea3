"""Whether this machine can run the sandbox of jobs."""

import functools

from worker.sandbox.base import Unavailable
from worker.sandbox.bubblewrap import Bubblewrap


@functools.cache
def works():
    """Return whether bubblewrap works here; CI installs it, but a container may forbid namespaces."""
    try:
        Bubblewrap.found()
    except Unavailable:
        return False
    return True
