"""Watching a task whose server cannot be reached: it is reported, and the command keeps trying."""

import asyncio
import os
import signal

from cli.remote.contexts import ServerContext
from cli.remote.follow import Follower, View


async def test_an_unreachable_server_is_reported_and_waited_for(capsys):
    """The task's id is known, so nothing but the user ends the watching."""
    watching = asyncio.create_task(Follower(ServerContext(("http://127.0.0.1:9",), None), View("task-1", 1)).run())
    said = ""
    while "connection lost" not in said:
        await asyncio.sleep(0.01)
        assert not watching.done()
        said += capsys.readouterr().err
    os.kill(os.getpid(), signal.SIGINT)
    assert await watching == 130
    assert "retrying" in said
