"""What a refusal of the model's service leads to: another credential, a wait of the attempt, or of the job."""

import asyncio
import time
from datetime import datetime

import pytest

from worker import rate_limits
from worker.agents import AGENTS
from worker.agents.credentials import AgentCredentials
from worker.agents.events import retry, text
from worker.agents.verdict import Outcome
from worker.rate_limits import RateLimits

HOLD = 300.0
JOB = {"agent": "claude-code", "messages": 0}
KEYS = {"ANTHROPIC_API_KEY": "a", "ANTHROPIC_API_KEY_2": "b"}
AUTH = Outcome("failed", 1, "auth", "no")


def refused(seconds=None):
    return Outcome("failed", 1, "rate_limited", "later", seconds)


@pytest.fixture
def slept(monkeypatch):
    """The waits, which take no time."""
    waits = []

    async def sleep(seconds):
        waits.append(round(seconds))

    monkeypatch.setattr(rate_limits, "sleep", sleep)
    return waits


@pytest.fixture
def said():
    return []


def limits(said, keys=KEYS, hold=HOLD, job=JOB):
    return RateLimits(job, AgentCredentials(AGENTS["claude-code"].needs, keys, {}), hold, said.append)


ONE = {"ANTHROPIC_API_KEY": "a"}


async def test_a_short_wait_is_the_attempts_and_a_long_one_the_jobs(said, slept):
    made = limits(said, ONE)
    assert await made.settle(refused(30.0), can_release=True) is None
    outcome = await made.settle(refused(301.0), can_release=True)
    assert (outcome.outcome, outcome.reason) == ("released", "rate_limit")
    assert outcome.after_seconds == pytest.approx(301, abs=1)
    assert slept == [30]
    assert [(event["type"], event["agent"], round(event["seconds"])) for event in said] == [
        ("rate_limited", "claude-code", 30), ("rate_limited", "claude-code", 301),
    ]  # fmt: skip
    assert datetime.fromisoformat(said[1]["until"]).timestamp() == pytest.approx(time.time() + 301, abs=10)
    assert "credential" not in said[0]


async def test_a_server_that_does_not_know_the_event_gets_none(said, slept):
    assert await limits(said, ONE, job={"agent": "claude-code"}).settle(refused(5.0), can_release=True) is None
    assert (slept, said) == ([5], [])


async def test_a_job_that_cannot_go_on_elsewhere_waits_where_it_is(said, slept):
    assert await limits(said, ONE).settle(refused(4000.0), can_release=False) is None
    assert slept == [4000]


async def test_unknown_waits_double_and_a_refusal_of_zero_seconds_waits_a_little(said, slept):
    made = limits(said, ONE)
    for told in (None, None, 0.0, None):
        assert await made.settle(refused(told), can_release=False) is None
    assert slept == [60, 120, 1, 240]


async def test_an_attempt_waits_only_so_often(said, slept):
    made = limits(said, ONE)
    for _ in range(20):
        assert await made.settle(refused(1.0), can_release=True) is None
    assert await made.settle(refused(1.0), can_release=True) == refused(1.0)
    assert len(slept) == len(said) == 20


async def test_the_next_credential_is_tried_before_waiting_and_named(said, slept):
    made = limits(said)
    assert await made.settle(AUTH, can_release=True) is None
    assert (slept, said) == (
        [],
        [{"type": "progress", "message": "the model's service refused ANTHROPIC_API_KEY as invalid; "
                                         "the agent goes on with ANTHROPIC_API_KEY_2"}],
    )  # fmt: skip
    assert await made.settle(refused(7.0), can_release=True) is None
    assert slept == [7]
    assert said[1]["credential"] == "ANTHROPIC_API_KEY_2"
    assert await made.settle(AUTH, can_release=True) == AUTH  # now both are refused for good


async def test_a_limit_that_is_over_is_no_reason_to_wait(said, slept, monkeypatch):
    made = limits(said)
    assert await made.settle(refused(50.0), can_release=True) is None
    later = time.time() + 60
    monkeypatch.setattr(rate_limits.time, "time", lambda: later)
    assert await made.settle(refused(200.0), can_release=True) is None
    assert slept == []


async def test_a_credential_that_is_refused_for_good_ends_an_attempt_that_has_no_other(said, slept):
    assert await limits(said, ONE).settle(AUTH, can_release=True) == AUTH
    assert (slept, said) == ([], [])


async def test_the_limit_that_is_over_first_is_waited_for(said, slept):
    made = limits(said)
    assert await made.settle(refused(50.0), can_release=True) is None
    assert await made.settle(refused(200.0), can_release=True) is None
    assert slept == [50]
    assert said[-1]["credential"] == "ANTHROPIC_API_KEY"


@pytest.mark.parametrize(
    ("keys", "event"),
    [
        (ONE, retry(1, 10, "rate_limit", status=429, delay=HOLD + 1)),
        (ONE, retry(11, 10, "overloaded", status=529, delay=2.0)),
        (KEYS, retry(1, 10, "rate_limit", status=429, delay=1.0)),
        (KEYS, retry(1, 10, "no", status=401)),
    ],
)
async def test_an_agent_is_stopped_that_would_wait_for_too_long(said, keys, event):
    made = limits(said, keys)
    made.begin_turn()
    waiting = asyncio.create_task(made.exceeded())
    made.note(event)
    async with asyncio.timeout(60):
        await waiting
    assert not made.is_waiting


@pytest.mark.parametrize(
    ("event", "waits", "events"),
    [
        (retry(1, 10, "rate_limit", status=429, delay=20.0), True, 1),
        (retry(1, 10, "rate_limit", status=429, delay=0.5), True, 0),
        (retry(1, 10, "no", status=401), False, 0),
        (retry(1, 10, "broken", status=500, delay=HOLD + 1), False, 0),
    ],
)
async def test_an_agent_that_waits_for_a_while_is_left_alone(said, event, waits, events):
    made = limits(said, ONE)
    made.begin_turn()
    waiting = asyncio.create_task(made.exceeded())
    made.note(event)
    done, _ = await asyncio.wait([waiting], timeout=0.1)
    assert (not done, made.is_waiting, len(said)) == (True, waits, events)
    waiting.cancel()


async def test_an_agent_that_is_silent_after_a_refusal_is_stopped_once_a_worker_is_held_no_longer(said, slept):
    made = limits(said, ONE, hold=0.05)
    made.begin_turn()
    waiting = asyncio.create_task(made.exceeded())
    made.note(retry(1, 5, "429 Too Many Requests", status=429))
    assert made.is_waiting
    async with asyncio.timeout(60):
        await waiting
    made.begin_turn()
    assert not made.is_waiting
    assert await made.settle(refused(), can_release=False) is None
    assert slept == [60]
    long = limits(said, ONE, hold=40.0)
    long.note(retry(1, 5, "429 Too Many Requests", status=429))
    long._silent_since -= 40.0
    await long.exceeded()
    assert await long.settle(refused(), can_release=False) is None
    assert slept == [60, 80]  # it has lasted for as long as a worker is held already


async def test_an_answer_after_a_refusal_ends_its_silence(said):
    made = limits(said, ONE, hold=0.2)
    made.begin_turn()
    waiting = asyncio.create_task(made.exceeded())
    made.note(retry(1, 5, "429 Too Many Requests", status=429))
    made.note(text("done", streamed=False))
    done, _ = await asyncio.wait([waiting], timeout=0.5)
    assert not done
    waiting.cancel()
