"""Words between a person and an agent: message to stdin, question to the screen of ``ado attach``, answer to stdin."""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.bench import agent, floor
from tests.bench.figures import Figure, spread
from tests.bench.stage import Stage, main
from tests.bench.wire import LightClient
from tests.support.program import Cluster, until

_PAUSE_SECONDS = 0.02
"""Between two rounds, so that each begins with everything at rest."""


async def measure(stage: Stage) -> list[Figure]:
    """Send, ask and answer in turn; the caller and ``ado attach`` use one replica, the worker another."""
    rounds = stage.pick(200, 5)
    took: dict[str, list[float]] = {"message → stdin": [], "question → attach": [], "answer → stdin": []}
    with stage.cluster(2) as cluster:
        async with _waiting_agent(cluster) as (task, notes):
            caller = await LightClient.open(cluster.urls[0], cluster.token)
            screen = await _attach(cluster, task)
            for number in range(rounds):
                await asyncio.sleep(_PAUSE_SECONDS)
                sent = time.time_ns()
                await caller.call("tasks.send", {"taskId": task, "text": f"ask {number}"})
                question, shown = await _question(screen)
                took["question → attach"].append((shown - int(question["input"]["command"])) / 1e9)
                answered = time.time_ns()
                await caller.call("questions.answer", {"questionId": question["questionId"], "choice": "allow"})
                times = await _noted(notes, number)
                took["message → stdin"].append((times["message"] - sent) / 1e9)
                took["answer → stdin"].append((times["answer"] - answered) / 1e9)
            await caller.call("tasks.send", {"taskId": task, "text": "end"})
            caller.close()
            await screen.wait()
    with stage.database() as bare:
        least = spread(await floor.hops(bare, rounds))
    return [figure for what, seconds in took.items() for figure in _figures(what, spread(seconds), least)]


def _figures(what: str, found: dict[str, float], least: dict[str, float]) -> list[Figure]:
    p50, p99 = found["p50Ms"], found["p99Ms"]
    return [
        Figure(f"{what}, p50", p50, "ms", least["p50Ms"], "≤ 10 ms", p50 <= 10),
        Figure(f"{what}, p99", p99, "ms", least["p99Ms"]),
    ]


@contextlib.asynccontextmanager
async def _waiting_agent(cluster: Cluster) -> AsyncIterator[tuple[str, Path]]:
    """Start a worker, and a task whose agent waits for words; give the task's name and the file of its notes."""
    programs, notes = cluster.home / "programs", cluster.home / "notes"
    programs.mkdir()
    program = programs / "claude"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{agent.__file__}" "$@"\n')
    program.chmod(0o755)
    env = {"PATH": f"{programs}:{cluster.env['PATH']}", "ANTHROPIC_API_KEY": "none"}
    cluster.add_worker("w1", url=cluster.urls[1], env=env)
    until(lambda: cluster.sql("select from ado.workers where 'claude-code' = any(capabilities)"), "the worker")
    task = {"prompt": "note start", "agent": "claude-code", "env": {"BENCH_NOTES": str(notes)}}
    client = await LightClient.open(cluster.urls[0], cluster.token)
    name = (await client.call("tasks.create", {**task, "agentArgs": {"approve": "ask"}}))["taskId"]
    client.close()
    until(notes.exists, "the agent")
    yield name, notes


async def _attach(cluster: Cluster, task: str) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "cli", "attach", task, "-o", "jsonl",
        env=cluster.client_env(cluster.urls[0]), stdout=asyncio.subprocess.PIPE, limit=2**20,
    )  # fmt: skip
    assert process.stdout is not None
    await process.stdout.readline()  # it follows the task now
    return process


async def _question(screen: asyncio.subprocess.Process) -> tuple[dict[str, Any], int]:
    """Return the next question on the screen, and when it was there."""
    assert screen.stdout is not None
    async with asyncio.timeout(30):
        while line := await screen.stdout.readline():
            now, event = time.time_ns(), json.loads(line)
            if event["type"] == "question":
                return event, now
    raise RuntimeError("ado attach ended")


async def _noted(notes: Path, number: int) -> dict[str, int]:
    """Return when the message and the answer of a round reached the agent."""
    async with asyncio.timeout(30):
        while len(found := _notes_of(notes, number)) < 2:
            await asyncio.sleep(0.001)
    return found


def _notes_of(notes: Path, number: int) -> dict[str, int]:
    lines = [line.split() for line in notes.read_text().splitlines()[-4:]]
    return {line[0]: int(line[2]) for line in lines if len(line) == 3 and line[1] == str(number)}


if __name__ == "__main__":
    main(measure)
