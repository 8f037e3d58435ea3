"""A worker without a sandbox promises nothing that it cannot keep."""

from pathlib import Path

import pytest

from worker.sandbox.base import NO_SANDBOX, SandboxedStart


def test_plain_processes_are_started_as_they_are():
    assert NO_SANDBOX.enclose(Path("/x"), Path("/x/job"), (), network=True) == SandboxedStart()


def test_a_job_without_a_network_is_refused_without_a_sandbox():
    with pytest.raises(OSError, match="without a network"):
        NO_SANDBOX.enclose(Path("/x"), Path("/x/job"), (), network=False)
