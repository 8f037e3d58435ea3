"""An agent's lines become events, each with its line beside it, whole, in order and without secrets."""

import asyncio
import base64
import json
import os
import time
from pathlib import Path

import orjson
import pytest

from worker.agents import AGENTS
from worker.agents.base import Run
from worker.agents.stream import AgentStream
from worker.agents.verdict import Outcome
from worker.output.buffer import Outbox
from worker.output.lines import lines
from worker.output.masking import Secrets

SECRET = "correct-horse-battery"


async def hear(*lines, agent="claude-code", secrets=(), directory="/job", buffer=1 << 20):
    """Return the events of some lines, as they are sent."""
    read, write = os.pipe()
    outbox = Outbox(buffer)
    reader = AGENTS[agent].reader(Run("x", Path(directory), Path("/home")))
    listener = AgentStream(read, reader, outbox, Secrets(secrets), directory=directory)
    listening = asyncio.create_task(listener.run())
    listening.add_done_callback(lambda _: outbox.close())
    data = b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)
    writing = asyncio.create_task(asyncio.to_thread(write_and_close, write, data))
    found = []
    while events := [orjson.loads(event) for event in await outbox.take(1000, 1 << 20)]:
        found += events
    await asyncio.gather(listening, writing)
    return found


def write_and_close(fd, data):
    while data:
        data = data[os.write(fd, data) :]
    os.close(fd)


def delta(text):
    event = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}}
    return {"type": "stream_event", "event": event}


def said(*blocks):
    return {"type": "assistant", "message": {"content": list(blocks)}}


def words(events):
    return "".join(event["text"] for event in events if event.get("event") == "text_delta")


async def test_every_line_is_kept_beside_its_first_event():
    line = said(
        {"type": "text", "text": "a"}, {"type": "tool_use", "id": "1", "name": "Bash", "input": {"command": "x"}}
    )
    events = await hear(line, {"type": "system", "subtype": "status"})
    assert [event["event"] for event in events] == ["text", "tool_start", "other"]
    assert [json.loads(event["raw"]) for event in events if "raw" in event] == [
        line, {"type": "system", "subtype": "status"},
    ]  # fmt: skip


async def test_a_line_too_long_for_one_event_is_carried_in_pieces():
    line = said({"type": "text", "text": "x" * 1_000_000})
    events = await hear(line)
    assert all(len(json.dumps(event)) < 1 << 20 for event in events)
    assert json.loads("".join(event["raw"] for event in events)) == line
    assert [event.get("rawContinues", False) for event in events] == [True] * (len(events) - 1) + [False]


async def test_a_line_that_is_not_of_the_agent_is_output():
    noise = b"npm warn: \xff\n[1, 2]\nplain\n"
    events = await hear(noise, said({"type": "text", "text": "a"}), b"no end")
    output = [event for event in events if event["type"] == "output"]
    data = [base64.b64decode(e["data"]) if e.get("encoding") else e["data"].encode() for e in output]
    assert b"".join(data) == noise + b"no end"


@pytest.mark.parametrize("agent", ["claude-code", "gemini-cli", "codex"])
async def test_a_line_of_an_unknown_shape_does_not_end_the_run(agent):
    strange = [
        {"type": kind, "message": 5, "item": 7, "event": [1], "stats": "many", "subtype": "init"}
        for kind in ("assistant", "user", "system", "stream_event", "result", "init", "message", "tool_use",
                     "tool_result", "item.started", "item.completed", "thread.started", "turn.completed", "turn.failed",
                     "error")
    ]  # fmt: skip
    events = await hear(*strange, agent=agent)
    assert [json.loads(event["raw"]) for event in events if "raw" in event] == strange


async def test_a_full_buffer_blocks_the_agent_and_loses_no_event():
    events = await hear(*[delta(f"{number} ") for number in range(5000)], buffer=20_000)
    assert words(events).split() == [str(number) for number in range(5000)]


async def test_files_are_named_from_the_directory_of_the_job():
    use = {"type": "tool_use", "id": "1", "name": "Edit", "input": {"file_path": "/job/src/a.py"}}
    events = await hear(said(use))
    assert events[0]["title"] == "src/a.py"


@pytest.mark.parametrize("cut", range(1, len(SECRET)))
async def test_a_secret_divided_over_lines_is_masked_in_each(cut):
    events = await hear(
        delta(f"it is {SECRET[:cut]}"), delta(f"{SECRET[cut:]} indeed"), delta("."),
        said({"type": "text", "text": f"it is {SECRET} indeed."}), secrets=[SECRET],
    )  # fmt: skip
    rest = SECRET[cut:] if cut >= 4 else ""
    text = json.dumps(events)
    assert SECRET not in text
    assert SECRET not in "".join(json.loads(e["raw"]).get("event", {}).get("delta", {}).get("text", "")
                                 for e in events if "raw" in e)  # fmt: skip
    assert not rest or f"{rest} indeed" not in text
    assert words(events).endswith("*** indeed.")


async def test_text_without_a_secret_is_passed_on_unchanged_without_delay():
    events = await hear(delta("tasks"), delta(" and "), delta("disks"), secrets=[SECRET])
    assert words(events) == "tasks and disks"
    assert all("raw" in event for event in events)


async def test_silence_counts_only_while_no_tool_runs():
    read, write = os.pipe()
    outbox = Outbox(1 << 20)
    listener = AgentStream(read, AGENTS["claude-code"].reader(Run("x", Path("/job"), Path("/home"))), outbox)
    listening = asyncio.create_task(listener.run())
    use = {"type": "tool_use", "id": "1", "name": "Bash", "input": {"command": "make"}}
    os.write(write, json.dumps(said(use)).encode() + b"\n")
    await outbox.take(1, 1000)
    stalled = asyncio.create_task(listener.stalled(0.1))
    done, _ = await asyncio.wait([stalled], timeout=0.5)
    assert not done
    ended = {"type": "user", "message": {"content": [{"type": "tool_result", "tool_use_id": "1", "content": "ok"}]}}
    os.write(write, json.dumps(ended).encode() + b"\n")
    await asyncio.wait_for(stalled, 60)
    os.close(write)
    await listening


async def test_many_short_lines_do_not_block_the_loop():
    """While a pipe is never empty, other work has its turn every few milliseconds."""
    read, write = os.pipe()
    data = b"".join(b"%d\n" % number for number in range(200_000))

    def feed():
        with os.fdopen(write, "wb") as pipe:
            pipe.write(data)

    feeding = asyncio.create_task(asyncio.to_thread(feed))
    longest = 0.0

    async def tick():
        nonlocal longest
        while True:
            began = time.thread_time()
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - began)

    ticking = asyncio.create_task(tick())
    found = 0
    async for line in lines(read, 1000):
        found += 1
        for _ in range(20):
            line.decode()
    await feeding
    ticking.cancel()
    await asyncio.gather(ticking, return_exceptions=True)
    assert found == 200_000
    assert longest < 0.05


async def test_a_long_line_takes_linear_time():
    read, write = os.pipe()

    def feed():
        with os.fdopen(write, "wb", buffering=0) as pipe:
            for _ in range(16_000):
                pipe.write(b"x" * 4096)

    began = time.process_time()
    feeding = asyncio.create_task(asyncio.to_thread(feed))
    parts = [len(part) async for part in lines(read, 1 << 30)]
    await feeding
    assert parts == [16_000 * 4096]
    assert time.process_time() - began < 5


@pytest.mark.parametrize("error", [TypeError, KeyError, RecursionError, OverflowError])
async def test_a_stderr_line_that_fails_in_the_adapter_is_output(error):
    class AgentReader:
        def feed_stderr(self, line):
            raise error(line)

    read, write = os.pipe()
    outbox = Outbox(1 << 20)
    listener = AgentStream(read, AgentReader(), outbox)
    listener.feed_stderr(b"odd\n")
    assert not outbox._pending
    os.close(read)
    os.close(write)


async def test_an_event_on_stderr_is_noted_as_one_on_stdout_is():
    noted = []
    reader = AGENTS["gemini-cli"].reader(Run("x", Path("/job"), Path("/home")))
    AgentStream(0, reader, Outbox(1 << 20), Secrets([]), noted.append).feed_stderr(b"Attempt 1 failed: quota\n")
    assert [(event["event"], event["status"]) for event in noted] == [("retry", 429)]


@pytest.mark.parametrize(
    ("reason", "told"), [("no_result", True), ("exit_nonzero", True), ("timed_out", False), ("auth", False)]
)
async def test_an_unreported_end_is_explained_by_the_last_lines_of_stderr(reason, told):
    read, write = os.pipe()
    os.close(write)
    reader = AGENTS["claude-code"].reader(Run("x", Path("/job"), Path("/home")))
    listener = AgentStream(read, reader, Outbox(1 << 20))
    listener.feed_stderr(b"x" * 10_000 + b"\nError: the settings file names ")
    listener.feed_stderr("an unknown model č\n".encode())
    outcome = listener.explain(Outcome("failed", 42, reason, "no final result"))
    os.close(read)
    assert ("an unknown model č" in outcome.message) == told
    assert len(outcome.message) < 2200


@pytest.mark.parametrize("piece", ["x", "\U0001f600", "\x00", "\\", "\ufffd"])
async def test_a_long_line_of_any_characters_arrives_complete(piece):
    """No event is too large for the server, also with characters that grow in JSON."""
    line = orjson.dumps(delta(piece * 400_000))
    found = await hear(line + b"\n")
    assert {event["type"] for event in found} == {"agent"}
    assert "".join(event.get("raw", "") for event in found).encode() == line
