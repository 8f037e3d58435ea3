"""What a keeper reports is believed only as far as it can be read."""

import asyncio
import os
import resource
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.processes import process
from worker.processes.process import KeeperBroken, KeptProcess, ProcessEnd, is_shortage, parse_report

VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers())
REPORTS = st.dictionaries(st.sampled_from(["exit", "signal", "error", "errno", "survivors", "x"]), VALUES)

JUNK = [
    b"junk",
    b"\xff\xfe\x00",
    b"{",
    b"[]",
    b"{}",
    b"null",
    b"1",
    b'{"exit": "0"}',
    b'{"exit": 256}',
    b'{"exit": -1}',
    b'{"exit": ' + b"9" * 5000 + b"}",
    b'{"signal": 0}',
    b'{"signal": 1e3}',
    b'{"exit": 0}{"exit": 0}',
    b'{"exit": 0, "survivors": "x"}',
    b"[" * 60_000,
]


@pytest.mark.parametrize(
    ("data", "ended"),
    [
        (b'{"exit": 0}\n', ProcessEnd(exit_code=0)),
        (b'{"signal": 15}', ProcessEnd(signal=15)),
        (b'{"error": "x: no such file", "errno": 2}', ProcessEnd(error="x: no such file")),
        (b'{"error": "x", "errno": 12}', ProcessEnd(error="x", is_short_of_resources=True)),
        (b'{"exit": 0, "survivors": ["7 (b\\udce9)"]}', ProcessEnd(exit_code=0, survivors=("7 (b\udce9)",))),
    ],
)
def test_a_report_has_the_end_of_the_agent(data, ended):
    assert parse_report(data) == ended


@pytest.mark.parametrize("data", JUNK)
def test_junk_is_not_a_report(data):
    assert parse_report(data) is None


@given(st.binary() | REPORTS.map(str).map(str.encode) | st.text().map(str.encode))
def test_any_bytes_are_read_without_an_error(data):
    assert parse_report(data) is None or isinstance(parse_report(data), ProcessEnd)


@given(REPORTS)
def test_a_report_with_any_values_gives_one_end_or_none(report):
    try:
        data = orjson.dumps(report)
    except TypeError:
        return
    ended = parse_report(data)
    assert ended is None or ended.exit_code is None or 0 <= ended.exit_code <= 255


@pytest.mark.parametrize("data", JUNK, ids=range(len(JUNK)))
async def test_junk_of_a_keeper_is_distinguished_from_its_kill(monkeypatch, tmp_path, data):
    monkeypatch.setattr(process, "_KEEPER", broken_keeper(tmp_path, data))
    kept = await KeptProcess.start(["true"], env={}, cwd="/")
    with pytest.raises(KeeperBroken, match="cannot be read"):
        await kept.ended()
    kept.close()
    for fd in (kept.stdout, kept.stderr, kept.events):
        os.close(fd)


STOPPED_KEEPER = "import os, signal\nwhile True: os.kill(os.getpid(), signal.SIGSTOP)\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only /proc tells that a process is stopped")
async def test_a_keeper_that_is_stopped_again_and_again_is_killed(monkeypatch, tmp_path):
    (tmp_path / "keeper.py").write_text(STOPPED_KEEPER)
    monkeypatch.setattr(process, "_KEEPER", str(tmp_path / "keeper.py"))
    monkeypatch.setattr(process, "_KEEPER_SECONDS", 600.0)  # the patience with one that runs
    kept = await KeptProcess.start(["true"], env={}, cwd="/")
    kept.kill()
    assert await asyncio.wait_for(kept.ended(), 60) == ProcessEnd(signal=9)
    kept.close()
    for fd in (kept.stdout, kept.stderr, kept.events):
        os.close(fd)


def broken_keeper(directory, data):
    """Write a program that reports ``data`` in a keeper's place."""
    script = directory / "keeper.py"
    script.write_text(f"import os, sys\nos.write(int(sys.argv[1]), {data!r})\n")
    return str(script)


EVERY_SCARCITY = """
import asyncio, contextlib, os, resource, sys
import uvloop
from worker.repository.git import git
from worker.processes.process import KeptProcess, is_shortage

def descriptors():
    return len(os.listdir("/proc/self/fd"))

async def start():
    kept = await KeptProcess.start(["true"], env={}, cwd="/")
    await kept.ended()
    kept.close()
    for fd in (kept.stdout, kept.stderr, kept.events):
        os.close(fd)

async def main():
    highest = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    for do in (start, lambda: git("version", git_dir="/")):
        await do()
        before, refused = descriptors(), 0
        for free in range(45):
            resource.setrlimit(resource.RLIMIT_NOFILE, (before - 1 + free, highest))
            try:
                await do()
            except OSError as error:
                assert is_shortage(error.errno), error
                refused += 1
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest, highest))
            async with asyncio.timeout(60):
                while descriptors() != before:
                    await asyncio.sleep(0.01)
        assert 10 < refused < 40, refused

uvloop.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only /proc lists descriptors")
def test_a_start_that_fails_without_descriptors_leaks_none():
    done = subprocess.run(
        [sys.executable, "-c", EVERY_SCARCITY], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


ENV = {"PATH": os.environ["PATH"]}


def descriptors():
    return sorted(int(path.name) for path in Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize("limit", range(10, 24, 2))
async def test_no_descriptor_is_left_when_a_start_fails(limit):
    """Wherever the descriptors run out, the start fails with an OSError and keeps none."""
    before = descriptors()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    holders = [os.open("/", os.O_RDONLY) for _ in range(before[-1] - len(before) + 1)]  # no hole below the limit
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[-1] + 1 + limit, hard))
    failure = None
    try:
        process = await KeptProcess.start(["/bin/true"], env=ENV, cwd="/")
    except OSError as error:
        failure = error
    else:
        for fd in (process.stdout, process.stderr, process.events):
            os.close(fd)
        await process.ended()
        process.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in holders:
            os.close(fd)
    assert descriptors() == before
    assert failure is None or is_shortage(failure.errno)


async def test_an_environment_that_is_too_large_is_reported():
    """It is the job's fault, not the machine's, so it fails once and is not tried elsewhere."""
    with pytest.raises(OSError, match="too large") as raised:
        await KeptProcess.start(["/bin/true"], env={**ENV, "LONG": "x" * 200_000}, cwd="/")
    assert not is_shortage(raised.value.errno)
