"""Runs tests over a changed copy of the checkout, each time in a fork of a process that has the libraries loaded."""

import contextlib
import gc
import importlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.postgres import remove, start_server

ROOT = Path(__file__).parents[2]

_LIBRARIES = ("asyncpg", "cryptography.fernet", "h11", "hypothesis", "litestar", "msgspec", "orjson", "psycopg")
_LIBRARIES += ("psycopg_pool", "prometheus_client", "pytest_asyncio", "pytest_postgresql.plugin", "rich.console")
_LIBRARIES += ("uvicorn", "websockets.asyncio.client", "pytest_timeout", "xdist.plugin", "ahocorasick_rs")
_OWN = ("app", "cli", "db", "sql", "worker", "tests", "support")
_BYTES = 4 << 30
_SECONDS_TO_END = 10.0
_SECONDS_AFTER_FAILURE = 5.0
PASSED = 0


@contextlib.contextmanager
def copy_of_checkout() -> Iterator[Path]:
    """Give a copy of the checkout's files; processes of this one import from it. It is removed at the end."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    with tempfile.TemporaryDirectory(prefix="ado-mutation-") as directory:
        copy = Path(directory)
        for name in listed.splitlines():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
        subprocess.run([sys.executable, "-m", "compileall", "-q", *_OWN[:5]], cwd=copy, check=True)
        yield copy


@contextlib.contextmanager
def postgres(*, needed: bool) -> Iterator[str | None]:
    """Give a server for all runs, which saves each of them the start of its own."""
    if not needed:
        yield None
        return
    server, directory, dsn = start_server()
    try:
        yield dsn
    finally:
        server.stop()
        remove(directory)


def load_libraries() -> None:
    """Load what tests import and no mutant changes; ado's own modules are forgotten."""
    with tempfile.TemporaryDirectory() as empty:  # pytest rewrites the assertions of its plugins as it loads them
        pytest.main(["-qq", "-W", "ignore", "-p", "no:cacheprovider", "--rootdir", empty, "-c", os.devnull, empty])
    for name in _LIBRARIES:
        importlib.import_module(name)
    for name in [name for name in sys.modules if name.partition(".")[0] in _OWN]:
        del sys.modules[name]
    gc.freeze()


def run(copy: Path, tests: Sequence[str], *, seconds: float, dsn: str | None, plugins: Sequence[object] = ()) -> int:
    """Run tests until the first failure; return pytest's exit code, or -1 after ten times the limit of one test."""
    process = os.fork()
    if process == 0:
        _in_fork(copy, tests, seconds, dsn, plugins)
    try:
        end = time.monotonic() + seconds * 10
        while time.monotonic() < end:
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                process = 0
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.02)
        return -1
    finally:
        if process:
            _end(process)


def _end(process: int) -> None:
    """End a run: it removes what it made, unless that takes too long."""
    os.kill(process, signal.SIGTERM)
    end = time.monotonic() + _SECONDS_TO_END
    while not os.waitpid(process, os.WNOHANG)[0]:
        if time.monotonic() > end:
            os.kill(process, signal.SIGKILL)
        time.sleep(0.02)


class _EndAfterFailure:
    """A plugin of pytest that ends the process a while after a failure: a mutant may leave threads that never end."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            end = threading.Timer(_SECONDS_AFTER_FAILURE, os._exit, [1])
            end.daemon = True
            end.start()


def _in_fork(copy: Path, tests: Sequence[str], seconds: float, dsn: str | None, plugins: Sequence[object]) -> None:
    code = 3
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (_BYTES, _BYTES))
        os.chdir(copy)
        sys.path[:0] = [str(copy)]
        sys.dont_write_bytecode = True  # two mutants of one second and size would share it
        if dsn:
            os.environ["ADO_TEST_DSN"] = dsn
        output = os.open(os.environ.get("ADO_MUTATION_LOG", os.devnull), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
        options = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider", "-p", "no:randomly", f"--timeout={seconds}"]
        code = int(pytest.main([*options, *tests], plugins=[_EndAfterFailure(), *plugins]))
    finally:
        os._exit(code)
