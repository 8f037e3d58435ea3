"""Start of the command line: the processor time of whole commands against the import of the parser of options alone."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

from tests.bench.figures import Figure, median
from tests.bench.stage import Stage, main
from tests.support.program import Cluster

_ADO = [sys.executable, "-I", "-m", "cli"]
_HELP, _RUN, _PARSER, _SOCKET = "ado --help", "ado run --remote", "parser", "socket"
_SHORT = ("ado tasks", "ado logs", "ado attach", "ado kv list")
"""Commands that are to take at most 100 ms in all."""
_NO_OPTION, _NO_TASK = "ado tasks --no-such-option", "ado logs of a task that is not there"
_WATCHING = ("ado logs", "ado attach", _RUN)


async def measure(stage: Stage) -> list[Figure]:
    """Run all commands in turn, over an ended task of one worker, and take the medians."""
    with stage.cluster(1) as cluster:
        cluster.add_worker("w1")
        done = cluster.ado("run", "--remote", "--agent", "shell", "echo line", "-o", "name")
        name = done.stdout.split()[-1]
        seconds = _measured(cluster, name, stage.pick(21, 2))
    parser, socket = (median(seconds[what]) * 1000 for what in (_PARSER, _SOCKET))
    aims = {_HELP: ("≤ 1.5 x floor, ≤ 150 ms", min(150.0, 1.5 * parser)), _RUN: ("≤ floor + 60 ms", parser + 60)}
    aims |= dict.fromkeys(_SHORT, ("≤ 100 ms", 100.0))
    figures = []
    for what, values in seconds.items():
        if what.startswith("ado"):
            value, (aim, limit) = median(values) * 1000, aims.get(what, ("", None))
            detail = {"import of a WebSocket client alone, ms": socket} if what in _WATCHING else {}
            figures.append(Figure(f"{what}, CPU", value, "ms", parser, aim, limit and value <= limit, detail))
    return figures


def _measured(cluster: Cluster, name: str, rounds: int) -> dict[str, list[float]]:
    commands = {
        _PARSER: [sys.executable, "-I", "-c", "import cyclopts"],
        _SOCKET: [sys.executable, "-I", "-c", "import websockets.asyncio.client"],
        _HELP: [*_ADO, "--help"],
        "ado tasks": [*_ADO, "tasks"],
        "ado logs": [*_ADO, "logs", name],
        "ado attach": [*_ADO, "attach", name],
        "ado kv list": [*_ADO, "kv", "list", "--task", name],
        _RUN: [*_ADO, "run", "--remote", "--agent", "shell", "true"],
        "ado run --help": [*_ADO, "run", "--help"],
        "ado logs --help": [*_ADO, "logs", "--help"],
        "ado --version": [*_ADO, "--version"],
        "ado complete, of a command": [*_ADO, "complete", "--", "lo"],
        "ado complete, of a task": [*_ADO, "complete", "--", "logs", "task-"],
        _NO_OPTION: [*_ADO, "tasks", "--no-such-option"],
        _NO_TASK: [*_ADO, "logs", "task-999"],
    }
    env = cluster.client_env(cluster.urls[0])
    seconds: dict[str, list[float]] = {what: [] for what in commands}
    for number in range(rounds + 1):
        for what, command in commands.items():
            took = _cpu(command, env, fails=what in (_NO_OPTION, _NO_TASK))
            if number:  # the first time compiles
                seconds[what].append(took)
    return seconds


def _cpu(command: Sequence[str], env: Mapping[str, str], *, fails: bool) -> float:
    """Return the seconds of processor time that a command needs, with all that it starts."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", env=env) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert (process.returncode != 0) == fails, command
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main(measure)
