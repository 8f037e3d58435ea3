"""What an agent writes is read to the end of both pipes: as output, or as events where it has a reader."""

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace

import orjson
import pytest

from worker.agent_output import AgentOutput
from worker.agents.base import AgentReader, Run
from worker.agents.events import text
from worker.output.buffer import Outbox
from worker.processes.process import ProcessEnd


class Reader(AgentReader):
    """Reads lines such as {"type": "say", "text": "hello"}."""

    def __init__(self, run):
        super().__init__(run)
        self._handlers = {"say": lambda line: [text(line["text"], streamed=False)]}


@pytest.fixture
def process():
    """Makes a process out of what it writes to stdout and stderr."""

    def written(stdout, stderr):
        fds = []
        for data in (stdout, stderr):
            read, write = os.pipe()
            os.write(write, data)
            os.close(write)
            fds.append(read)
        return SimpleNamespace(stdout=fds[0], stderr=fds[1])

    return written


async def events_of(output, outbox):
    async with asyncio.timeout(60):
        await output.run()
        output.close()
        outbox.close()
        return [orjson.loads(event) for event in await outbox.take(100, 1 << 20)]


async def test_both_streams_of_a_program_are_output(process):
    outbox = Outbox(1 << 20)
    output = AgentOutput(process(b'{"type":"say"}\n', b"oh\n"), None, outbox)
    events = await events_of(output, outbox)
    assert {(event["type"], event["stream"], event["data"]) for event in events} == {
        ("output", "stdout", '{"type":"say"}\n'),
        ("output", "stderr", "oh\n"),
    }
    assert output.outcome(ProcessEnd(exit_code=3)).message == "exit code 3"


async def test_lines_of_an_agent_are_events_and_stderr_explains_a_failure(process):
    outbox = Outbox(1 << 20)
    reader = Reader(Run("", Path("/"), Path("/")))
    output = AgentOutput(process(b'{"type":"say","text":"hello"}\n', b"out of luck\n"), reader, outbox)
    events = await events_of(output, outbox)
    assert {(event["type"], event.get("event"), event.get("stream")) for event in events} == {
        ("agent", "text", None),
        ("output", None, "stderr"),
    }
    outcome = output.outcome(ProcessEnd(exit_code=1))
    assert (outcome.reason, outcome.message.endswith("its last words: out of luck")) == ("no_result", True)
