"""Start of the command line: ``ado --help`` against the import of its command parser alone."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench.figures import Figure, median
from tests.bench.stage import Stage, main


async def measure(stage: Stage) -> list[Figure]:
    """Run both in turn and take the medians."""
    rounds = stage.pick(21, 2)
    ado = [str(Path(sys.executable).with_name("ado"))]
    figures = []
    floors: list[float] = []
    commands = {
        "ado --help": [*ado, "--help"],
        "ado --version": [*ado, "--version"],
        "ado run --help": [*ado, "run", "--help"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        floors.append(await asyncio.to_thread(_took, [sys.executable, "-c", "import cyclopts"]))
        for name, command in commands.items():
            times[name].append(await asyncio.to_thread(_took, command))
    floor = median(floors) * 1000
    for name, values in times.items():
        value = median(values) * 1000
        promised = name == "ado --help"
        aim, met = ("≤ 1.5 x floor, ≤ 150 ms", value <= min(150.0, 1.5 * floor)) if promised else ("", None)
        figures.append(Figure(name, value, "ms", floor, aim, met))
    return figures


def _took(command: Sequence[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")
    return time.perf_counter() - began


if __name__ == "__main__":
    main(measure)
