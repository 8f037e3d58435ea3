"""Which writes for an attempt the fence accepts, and why it refuses the others."""

from dataclasses import replace

import pytest

from app.access.context import Context
from app.procedures.checks.fences import check_own_worker, credential_digest, fence_error, may_write
from app.rpc.errors import ProcedureError
from db import tokens
from db.model import HeldAttempt, JobRow
from db.tokens import TokenRow

JOB = JobRow(7, 0, "shell", status="running", attempt=2, worker_id="w1", last_batch=4)
GUARDED = replace(JOB, credential=b"digest")
WRITE = HeldAttempt(7, 0, 2, "w1")


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


def caller(role):
    """Return the caller with the token of worker w1 or of its attempt."""
    return Context(None, TokenRow("t", role, "w1", None, 7, 0, 2, None, True), "secret")


@pytest.mark.parametrize(("role", "bound"), [("worker", True), ("attempt", True), ("admin", False)])
def test_a_workers_token_is_for_its_own_worker(role, bound):
    check_own_worker(caller(role), "w1")
    if not bound:
        check_own_worker(caller(role), "w2")
        return
    with pytest.raises(ProcedureError) as refused:
        check_own_worker(caller(role), "w2")
    assert refused.value.reason == "forbidden"


def test_a_credential_is_the_calls_token_or_comes_with_the_input():
    assert credential_digest(caller("attempt"), (7, 0, 2), "ignored") == tokens.digest("secret")
    assert credential_digest(caller("worker"), (7, 0, 2), "given") == tokens.digest("given")
    assert credential_digest(caller("worker"), (7, 0, 2)) is None


@pytest.mark.parametrize("key", [(8, 0, 2), (7, 1, 2), (7, 0, 1)])
def test_a_credential_is_for_one_attempt(key):
    with pytest.raises(ProcedureError) as refused:
        credential_digest(caller("attempt"), key)
    assert refused.value.reason == "forbidden"
