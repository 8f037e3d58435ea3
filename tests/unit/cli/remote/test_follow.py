"""Watching a task whose server cannot be reached: it is reported, and the command keeps trying."""

import asyncio
import os
import signal
import threading

from app.rpc.client import HttpClient
from cli.commands.watch import watch
from cli.remote.connection import NO_OPTIONS
from cli.remote.contexts import ServerContext
from cli.remote.follow import Follower, View
from cli.remote.live_follow import LiveFollower

NOWHERE = ServerContext(("http://127.0.0.1:9",), None)


async def test_an_unreachable_server_is_reported_and_waited_for(capsys):
    """The task's id is known, so nothing but the user ends the watching."""
    watching = asyncio.create_task(LiveFollower(NOWHERE, View("task-1", 1)).run())
    said = ""
    while "connection lost" not in said:
        await asyncio.sleep(0.01)
        assert not watching.done()
        said += capsys.readouterr().err
    os.kill(os.getpid(), signal.SIGINT)
    assert await watching == 130
    assert "retrying" in said


def test_a_log_that_is_only_read_waits_for_its_server_until_the_user_leaves(monkeypatch, capsys):
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    follower, lost = Follower(NOWHERE, View("task-1", 1, follow=False)), threading.Event()
    connection = follower._connection
    monkeypatch.setattr(follower, "_connection", lambda state: (connection(state), lost.set()))

    def leave():
        lost.wait(60)
        os.kill(os.getpid(), signal.SIGTERM)

    leaving = threading.Thread(target=leave)
    leaving.start()
    try:
        assert follower.replay() == 130
    finally:
        leaving.join()
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
    said = capsys.readouterr().err
    assert "connection lost" in said
    assert "detached; task-1 goes on" in said


def test_leaving_between_the_two_ways_of_watching_only_detaches(monkeypatch, capsys):
    def interrupted(_self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Follower, "begin", lambda _self, _calls: None)
    monkeypatch.setattr(LiveFollower, "run", interrupted)
    assert watch(NOWHERE, View("task-1", 1), NO_OPTIONS, HttpClient(NOWHERE.urls, None)) == 130
    assert "detached; task-1 goes on" in capsys.readouterr().err
