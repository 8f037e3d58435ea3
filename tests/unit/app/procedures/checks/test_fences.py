"""Which writes for an attempt the fence accepts, and why it refuses the others."""

from dataclasses import replace

import pytest

from app.procedures.checks.fences import fence_error, may_write
from db.files import Fence
from db.model import JobRow

JOB = JobRow(7, 0, "shell", status="running", attempt=2, worker_id="w1", last_batch=4)
GUARDED = replace(JOB, credential=b"digest")
WRITE = Fence(7, 0, 2, "w1")


@pytest.mark.parametrize(
    ("job", "write", "reason"),
    [
        (None, WRITE, "no_such_job"),
        (replace(JOB, status="queued"), WRITE, "lease_lost"),
        (JOB, replace(WRITE, attempt=1), "lease_lost"),
        (JOB, replace(WRITE, worker_id="w2"), "lease_lost"),
        (GUARDED, WRITE, "credential_missing"),
        (GUARDED, replace(WRITE, credential=b"other"), "credential_missing"),
        (GUARDED, replace(WRITE, attempt=1, credential=b"digest"), "lease_lost"),
    ],
)
def test_a_write_that_is_not_the_running_attempts_own_is_refused(job, write, reason):
    assert not may_write(job, write)
    assert fence_error(job, write, 5).reason == reason


@pytest.mark.parametrize(
    ("job", "write"),
    [(JOB, WRITE), (JOB, replace(WRITE, credential=b"any")), (GUARDED, replace(WRITE, credential=b"digest"))],
)
def test_the_running_attempt_may_write_with_its_credential_if_it_has_one(job, write):
    assert may_write(job, write)


def test_a_gap_of_batches_is_answered_with_the_expected_number():
    error = fence_error(JOB, WRITE, 9)
    assert (error.reason, error.data["expected"]) == ("batch_gap", 5)
