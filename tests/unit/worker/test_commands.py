"""What the checks of an attempt make of a stop. ``tests/service/test_checks.py`` runs them."""

from types import SimpleNamespace

import pytest

from worker.agents.verdict import Outcome
from worker.commands import NO_COMMANDS, Commands
from worker.turn import Stop

DONE = Outcome("succeeded", 0)
PAUSED = Outcome("released", None, "paused")


@pytest.mark.parametrize(("wish", "ends"), [({"commands": ["true"], "tries": 1}, PAUSED), (NO_COMMANDS, DONE)])
async def test_a_stop_after_the_turn_ends_the_attempt_only_if_checks_are_left(wish, ends):
    stop = Stop()
    stop.request(PAUSED)
    commands = Commands(wish, SimpleNamespace(stop=stop), start=None, mends=False)
    assert await commands.check(DONE) == (ends, [])
