"""A supervisor whose parts break."""

import asyncio

import pytest
from support.program import write_token

from worker.capabilities import WorkerCapabilities
from worker.secret_store import SecretStore
from worker.settings import WorkerSettings
from worker.supervisor import Supervisor
from worker.token import WorkerToken


class Running:
    """A running attempt that ends when it is stopped."""

    def __init__(self):
        self.outcome = asyncio.get_running_loop().create_future()

    def stop(self, outcome):
        if not self.outcome.done():
            self.outcome.set_result(outcome.outcome)

    def lose(self):
        self.stop(None)


@pytest.fixture
def supervisor(tmp_path):
    write_token(tmp_path / "token", "writer")
    settings = WorkerSettings(url=("http://127.0.0.1:9",), worker_id="w", work_dir=str(tmp_path))
    return Supervisor(settings, WorkerCapabilities((), {}), SecretStore({}), WorkerToken(str(tmp_path / "token")))


@pytest.mark.parametrize("part", ["_follow_commands", "_claim_for_ever"])
async def test_a_part_that_breaks_ends_the_worker_with_its_error_and_releases_its_jobs(supervisor, monkeypatch, part):
    async def wait_for_ever():
        await asyncio.Event().wait()

    async def broken():
        raise RuntimeError(part)

    for name in ("_follow_commands", "_claim_for_ever"):
        monkeypatch.setattr(supervisor, name, broken if name == part else wait_for_ever)
    attempt = Running()

    async def run():
        await attempt.outcome
        supervisor._running.discard(asyncio.current_task())

    supervisor._attempts["task-1/0", 1] = attempt
    supervisor._running.add(asyncio.create_task(run(), name="attempt"))
    async with asyncio.timeout(60):
        with pytest.raises(RuntimeError, match=part):
            await supervisor._work()
    assert attempt.outcome.result() == "released"


def test_a_command_of_a_later_release_is_ignored(supervisor):
    supervisor._obey({"type": "unheard-of"})
    assert not supervisor._draining.is_set()
