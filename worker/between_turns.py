"""What happens between two turns of an attempt: a limit of the job's budget, or a refusal of the model's service."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from worker.agents.base import Agent, AgentReader, Run
from worker.agents.verdict import BUDGET, Outcome
from worker.agents.words import next_turn
from worker.rate_limits import GO_ON, REFUSALS
from worker.turn import TurnSetting, hold_question


async def settle_budget(setting: TurnSetting, turn: Outcome | None = None) -> Outcome | None:
    """Return how the attempt ends if its budget allows no turn, or it is stopped while a person is asked."""
    if not setting.budget.is_limited:
        return None
    stopped = turn is not None and turn.reason == BUDGET
    holding = asyncio.create_task(hold_question(setting), name="hold")
    try:
        settling = setting.budget.settle(setting.questions.ask, setting.outbox.put, stopped=stopped)
        return await setting.stop.unless(settling)
    finally:
        holding.cancel()


class Refusals:
    """Turns of one attempt that the model's service refused: how the attempt ends, or goes on with the same turn."""

    def __init__(self, setting: TurnSetting, agent: Agent, home: Path) -> None:
        self._setting = setting
        self._agent = agent
        self._home = home
        self._has_worked = False

    async def settle(self, run: Run, turn: Outcome, reader: AgentReader | None) -> Run | Outcome:
        """Return how the attempt ends, or the run with which a refused turn goes on, once it can."""
        if reader is None or turn.reason not in REFUSALS or self._setting.stop.outcome is not None:
            self._has_worked = True
            return turn
        self._has_worked = self._has_worked or reader.has_worked
        files = await asyncio.to_thread(self._agent.session_files, self._home, reader.session or "")
        has_session = bool(reader.session and files)
        can_release = self._can_release(run, has_session=has_session)
        settling = self._setting.limits.settle(turn, can_release=can_release)
        if (outcome := await self._setting.stop.unless(settling)) is not None:
            return outcome
        self._setting.budget.resume_turn()
        return self._again(run, reader, has_session=has_session)

    def _can_release(self, run: Run, *, has_session: bool) -> bool:
        """Whether another attempt can go on where this one stands. One with input of its own may have read it."""
        if run.stdin:
            return False
        return (has_session and self._setting.checkpoints is not None) or not (self._has_worked or run.session)

    def _again(self, run: Run, reader: AgentReader, *, has_session: bool) -> Run:
        """Return the run of the same turn. An agent that has done nothing gets the same prompt again."""
        words = [GO_ON] if reader.has_worked else []
        again = next_turn(self._agent, run, words, reader)
        if not has_session:
            return replace(again, prompt=run.anew or run.prompt, session=None)
        return again if words else replace(again, prompt=run.prompt, anew=run.anew)
