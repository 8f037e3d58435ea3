"""Lines of any shape of an AI agent are read without an error, because its releases change."""

import asyncio
import copy
import os
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from worker.agents import AGENTS
from worker.agents.base import Run
from worker.agents.stream import AgentStream
from worker.agents.verdict import Outcome
from worker.output.buffer import Outbox
from worker.output.wire_events import result_that_fits, usage_that_fits
from worker.processes.process import ProcessEnd

TRANSCRIPTS = {path.stem: path for path in sorted(Path(__file__).with_name("transcripts").glob("*.jsonl"))}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
CONVERSING = sorted(name for name, agent in AGENTS.items() if agent.reader(Run("x", Path("/job"), Path("/home"))))


def transcript(agent):
    """Return the lines of JSON of every transcript of an agent."""
    paths = [path for name, path in TRANSCRIPTS.items() if name.startswith(agent.split("-")[0])]
    lines = [line for path in paths for line in path.read_bytes().splitlines()]
    return [orjson.loads(line) for line in lines if line.startswith(b"{")]


def places(value, path=()):
    """Yield the path of every value in a line."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


def changed(line, path, value):
    """Return a line with another value at one path."""
    if not path:
        return value
    line = copy.deepcopy(line)
    place = line
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return line


async def heard(agent, lines):
    """Give some lines to a reader; return it and the number of its events."""
    read, write = os.pipe()
    outbox = Outbox(1 << 26)
    reader = AGENTS[agent].reader(Run("x", Path("/job"), Path("/home")))
    listening = asyncio.create_task(AgentStream(read, reader, outbox).run())
    data = b"".join(orjson.dumps(line) + b"\n" for line in lines)
    await asyncio.to_thread(write_all, write, data)
    await listening
    outbox.close()
    return reader, len(await outbox.take(1_000_000, 1 << 30))


def write_all(fd, data):
    while data:
        data = data[os.write(fd, data) :]
    os.close(fd)


@pytest.mark.parametrize("agent", CONVERSING)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_line_of_an_unknown_shape_is_ignored(agent, data):
    lines = transcript(agent) or [{"type": "result"}]
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(lines) - 1))
        path = data.draw(st.sampled_from(list(places(lines[at]))))
        lines = [*lines[:at], changed(lines[at], path, data.draw(VALUES)), *lines[at + 1 :]]
    reader, count = asyncio.run(heard(agent, lines))
    assert count > 0
    outcome = reader.outcome(ProcessEnd(exit_code=0))
    assert isinstance(outcome, Outcome)
    assert outcome.outcome in ("succeeded", "failed")
    orjson.dumps([result_that_fits(reader.result), usage_that_fits(reader.usage)])
