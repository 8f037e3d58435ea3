"""How a refused turn goes on: whether its job may be handed back, and with which words."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from worker.agents.base import Launch, Run
from worker.agents.verdict import Outcome
from worker.between_turns import Refusals
from worker.budget import JobBudget
from worker.rate_limits import GO_ON
from worker.turn import Stop, Turn

REFUSED = Outcome("failed", 1, "rate_limited", "later", 5.0)
RUN = Run("the prompt", Path("/job"), Path("/home"), anew="the task and the prompt")


class Limits:
    """Notes what it is asked."""

    is_waiting = True

    async def settle(self, refusal, *, can_release):
        self.can_release = can_release
        return


def refusals(files=("session",), checkpoints=True):
    limits = Limits()
    setting = SimpleNamespace(limits=limits, stop=Stop(), budget=JobBudget({}), checkpoints=checkpoints or None)
    agent = SimpleNamespace(session_files=lambda home, session: list(files), converses=True)
    return Refusals(setting, agent, Path("/home")), limits


def reader(session="s", *, worked=False):
    return SimpleNamespace(session=session, has_worked=worked, reported={"costUsd": 1.0})


@pytest.mark.parametrize(
    ("run", "made", "read", "may"),
    [
        (RUN, {}, reader(), True),
        (RUN, {}, reader(worked=True), True),
        (RUN, {"checkpoints": False}, reader(worked=True), False),
        (RUN, {"checkpoints": False}, reader(), True),
        (RUN, {"files": ()}, reader(worked=True), False),
        (RUN, {"files": ()}, reader(), True),
        (replace(RUN, session="s"), {"checkpoints": False}, reader(), False),
        (replace(RUN, stdin=True), {}, reader(), False),
    ],
)
async def test_a_job_is_handed_back_only_if_another_attempt_can_go_on(run, made, read, may):
    found, limits = refusals(**made)
    await found.settle(run, REFUSED, read)
    assert limits.can_release == may


async def test_work_of_an_earlier_turn_counts(tmp_path):
    found, limits = refusals(checkpoints=False)
    done = Outcome("succeeded", 0)
    assert await found.settle(RUN, done, reader(worked=True)) == done
    await found.settle(RUN, REFUSED, reader())
    assert not limits.can_release


async def test_the_turn_goes_on_in_its_session_or_begins_again():
    found, _ = refusals()
    again = await found.settle(RUN, REFUSED, reader())
    assert (again.prompt, again.session, again.has_begun, again.reported) == ("the prompt", "s", True, {"costUsd": 1.0})
    again = await found.settle(RUN, REFUSED, reader(worked=True))
    assert (again.prompt, again.session) == (GO_ON, "s")
    found, _ = refusals(files=())
    again = await found.settle(RUN, REFUSED, reader(worked=True))
    assert (again.prompt, again.session) == ("the task and the prompt", None)


async def test_a_stopped_attempt_does_not_go_on():
    found, _ = refusals()
    found._setting.stop.request(Outcome("cancelled"))
    assert await found.settle(RUN, REFUSED, reader()) == REFUSED


async def test_the_silence_of_an_agent_that_waits_for_a_limit_is_no_fault():
    asked = []

    class Stream:
        async def stalled(self, seconds, is_waiting):
            asked.append(is_waiting())

    setting = SimpleNamespace(
        limits=Limits(), stop=Stop(), mailbox=SimpleNamespace(given=()), questions=SimpleNamespace(are_open=False),
        settings=SimpleNamespace(agent_idle_seconds=1.0),
    )  # fmt: skip
    turn = Turn(setting, None, Launch([]), SimpleNamespace(stalled=lambda seconds: REFUSED))
    await turn._watch_silence(Stream())
    assert asked == [True]
