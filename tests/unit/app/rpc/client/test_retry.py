"""Which calls are sent again, and for how long."""

import pytest

from app.rpc.backoff import Backoff
from app.rpc.client import CallError, NoAnswer, UnusableAnswer, retry
from app.rpc.client.errors import NO_SUCH_PROCEDURE
from app.rpc.client.retry import UpgradeWait, is_passing, until_answered, until_answered_async

AWAY = NoAnswer("http://a", "nobody is there")
REFUSED = CallError("no", {"code": "BAD_REQUEST"})
UNKNOWN = CallError("no", {"code": "NOT_FOUND", "reason": NO_SUCH_PROCEDURE})


def script(*outcomes):
    """Return a call that raises or returns these one after the other."""
    left = list(outcomes)

    def call():
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return call


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (AWAY, True),
        (UnusableAnswer("http://a", "tasks.get", ValueError("no task")), False),
        (CallError("away", {"code": "SERVICE_UNAVAILABLE"}), True),
        (CallError("late", {"code": "TIMEOUT"}), True),
        (CallError("failed", {"code": "INTERNAL_SERVER_ERROR"}), True),
        (CallError("busy", {"code": "TOO_MANY_REQUESTS"}), True),
        (REFUSED, False),
        (CallError("late", {"code": "UNAUTHORIZED"}), False),
    ],
)
def test_an_error_passes_when_the_same_call_may_succeed_later(error, passes):
    assert is_passing(error) is passes


def test_a_call_is_repeated_with_growing_pauses_until_it_is_answered():
    pauses = []
    answer = until_answered(script(AWAY, AWAY, 7), backoff=Backoff(0.1, 1.0, jitter=0), sleep=pauses.append)
    assert (answer, pauses) == (7, [0.1, 0.2])


def test_a_permanent_error_is_raised_without_a_retry():
    with pytest.raises(CallError, match="no"):
        until_answered(script(REFUSED), sleep=pytest.fail)


def test_the_caller_decides_which_errors_are_repeated():
    with pytest.raises(NoAnswer):
        until_answered(script(AWAY), repeats=lambda _: False, sleep=pytest.fail)


async def test_an_asynchronous_call_is_repeated_as_well():
    call = script(AWAY, 7)

    async def send():
        return call()

    pauses = Backoff(0.001, jitter=0)
    assert await until_answered_async(send, backoff=pauses) == 7
    assert pauses.next() == 0.002


async def test_an_asynchronous_call_that_is_refused_is_not_repeated():
    call = script(REFUSED, 7)

    async def send():
        return call()

    with pytest.raises(CallError):
        await until_answered_async(send)


def test_another_replica_is_tried_until_the_time_is_over(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(retry.time, "monotonic", lambda: now[0])
    wait = UpgradeWait()
    assert wait.allows(UNKNOWN)
    now[0] += retry.UPGRADE_SECONDS
    assert not wait.allows(UNKNOWN)
    wait.renew()
    assert wait.allows(UNKNOWN)


def test_only_an_unknown_procedure_leads_to_another_replica():
    assert not UpgradeWait().allows(REFUSED)
