"""What a person sees of a job that waits for a rate limit: while its attempt holds on, and while it is in the queue."""

from datetime import UTC, datetime, timedelta

import pytest
from support.procedures import Real

FENCE = {"workerId": "w1", "jobId": "task-1/0", "attempt": 1}
LIMITED = {"type": "rate_limited", "agent": "codex", "seconds": 3600, "credential": "OPENAI_API_KEY_2"}


@pytest.fixture
def real(dsn):
    """A replica with a running job."""
    made = Real(dsn, poll_seconds=0.02)
    try:
        made.call("tasks.create", prompt="p", agent="codex")
        session = made.call("workers.register", workerId="w1", capabilities=["codex"], instance="i").session
        assert made.call("workers.claim", workerId="w1", session=session).jobs
        yield made
    finally:
        made.close()


def wait(real):
    return real.call("tasks.get", taskId="task-1", explain=True).wait


def test_a_running_job_says_until_when_it_waits(real):
    assert not wait(real)
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    event = {**LIMITED, "until": end.isoformat()}
    assert real.call("workers.append", **FENCE, batch=1, events=[event]).acknowledged == 1
    why = f"the model's service told codex to wait; job 0 goes on by itself at {end:%Y-%m-%d %H:%M:%S} UTC"
    assert (wait(real).reason, wait(real).why) == ("rate_limited", why)
    assert not real.call("tasks.get", taskId="task-1").wait


@pytest.mark.parametrize("until", ["", "tomorrow", "9999-99-99T00:00:00Z", 7, None, {"a": 1}])
def test_a_worker_that_writes_no_time_breaks_nothing(real, until):
    assert real.call("workers.append", **FENCE, batch=1, events=[{**LIMITED, "until": until}]).acknowledged == 1
    assert not wait(real)


def test_a_job_that_was_handed_back_says_when_it_goes_on(real):
    back = {"outcome": "released", "reason": "rate_limit"}
    job = real.call("workers.finish", **FENCE, **back, afterSeconds=3600)
    assert (job.status, job.reason) == ("queued", "rate_limit")
    found = real.call("tasks.get", taskId="task-1", explain=True)
    assert found.jobs[0].retry_at - datetime.now(UTC) > timedelta(minutes=55)
    assert (found.wait.reason, found.wait.workers[0].unmet) == ("rate_limited", "retry_delay")
    assert "it goes on at" in found.wait.why


@pytest.mark.parametrize("seconds", [-1, 604_801, float("inf"), "soon"])
def test_an_impossible_wait_is_refused(real, seconds):
    back = {"outcome": "released", "reason": "rate_limit"}
    assert real.call("workers.finish", **FENCE, **back, afterSeconds=seconds) in ("invalid_input", "BAD_REQUEST")
    assert real.call("tasks.get", taskId="task-1").jobs[0].status == "running"
