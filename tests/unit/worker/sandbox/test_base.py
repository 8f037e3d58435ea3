"""A worker without a sandbox promises nothing that it cannot keep."""

from pathlib import Path

import pytest

from worker.sandbox.base import PLAIN, Enclosure


def test_plain_processes_are_started_as_they_are():
    assert PLAIN.enclose(Path("/x"), Path("/x/job"), (), network=True) == Enclosure()


def test_a_job_without_a_network_is_refused_without_a_sandbox():
    with pytest.raises(OSError, match="without a network"):
        PLAIN.enclose(Path("/x"), Path("/x/job"), (), network=False)
