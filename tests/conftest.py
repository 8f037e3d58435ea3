"""Fixtures of every test: the database, and what must not be left behind."""

import asyncio
import contextlib
import functools
import gc
import itertools
import os
from pathlib import Path

import hypothesis
import psycopg
import pytest
from pytest_asyncio import is_async_test
from pytest_postgresql import factories
from support.acp_programs import served
from support.checkout import untracked
from support.machines import possible
from support.postgres import (
    described,
    dsn_of,
    fast_directory,
    load_schema,
    remove,
    start_server,
    system_bindirs,
)
from support.program import Cluster
from support.sandboxes import works
from support.session import Part, Session, end_at_sigterm

from worker.sandbox.cgroup import delegated

_numbers = itertools.count()

# No test fails because the machine is busy: how long an example takes is for the benchmarks.
hypothesis.settings.register_profile("ado", deadline=None)
hypothesis.settings.load_profile("ado")
_SESSION = pytest.StashKey[Session | Part]()
_INCOMPLETE = 8  # not pytest's own code for failed tests, after which .ci/run may try those again
_UNTRACKED = pytest.StashKey[set[str]]()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    os.environ["_ADO_COMMAND"] = "ado"  # python -m cli then speaks of itself as what is installed does
    os.environ.setdefault("ADO_SANDBOX", "none")  # jobs and tests speak to each other by files and pids
    end_at_sigterm()
    gc.disable()  # until the tests are collected: what is imported for them stays
    if hasattr(config, "workerinput"):
        config.stash[_SESSION] = Part(config.workerinput["postgres"])
    else:
        config.stash[_UNTRACKED] = untracked()
        config.stash[_SESSION] = session = Session()
        config.add_cleanup(session.close)
        # in memory like the databases: git waits for the disk at each object, which took most of the time of its tests
        config.option.basetemp = config.option.basetemp or str(session.directory / "tmp")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Run whole folders in two processes per core, because tests wait for others half of their time.

    ``-n`` says otherwise. A single file is there sooner without.
    """
    option = config.option
    alone = option.usepdb or option.collectonly or option.capture == "no" or option.markexpr != "not long"
    chosen = getattr(option, "numprocesses", 0) is not None or hasattr(config, "workerinput")
    if not alone and not chosen and all(Path(argument).is_dir() for argument in config.args):
        option.numprocesses = 2 * os.cpu_count()
        option.dist = "worksteal"  # the tests of a module stay in one process, where they share replicas


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """Tell a process of xdist where to ask for Postgres."""
    node.workerinput["postgres"] = node.config.stash[_SESSION].serve()


def pytest_collection_modifyitems(config, items):
    """Leave out what needs a part of the system that is not there: what a worker then does is tested everywhere."""
    for marker, is_there in (("sandbox", works), ("cgroup", delegated), ("namespaces", possible)):
        needing = [item for item in items if item.get_closest_marker(marker)]
        if needing and not is_there():
            config.hook.pytest_deselected(items=needing)
            items[:] = [item for item in items if item not in needing]


@pytest.hookimpl(trylast=True)
def pytest_collection_finish():
    gc.enable()
    gc.freeze()  # a million objects of the collection stay; to look at them again and again costs 5 % of the CPU time


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Show what the processes of a failed test were doing: a failure in CI cannot be looked at again."""
    report = yield
    if call.when == "call" and report.failed:
        clusters = {id(found): found for found in getattr(item, "funcargs", {}).values() if isinstance(found, Cluster)}
        report.sections += [("the cluster", cluster.describe()) for cluster in clusters.values()]
    return report


def failures_in_ci(config):
    """Return what makes a run in CI fail although its tests passed. Elsewhere people write files meanwhile."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if not os.environ.get("CI") or not reporter or _UNTRACKED not in config.stash:
        return []
    skipped = ["skipped tests are failures in CI"] if reporter.stats.get("skipped") else []
    return skipped + [f"a test left {name} in the checkout" for name in sorted(untracked() - config.stash[_UNTRACKED])]


def pytest_terminal_summary(terminalreporter, exitstatus, config):
    for line in failures_in_ci(config):
        terminalreporter.write_line(line, red=True)


def pytest_sessionfinish(session, exitstatus):
    if exitstatus in (0, 1) and failures_in_ci(session.config):
        session.exitstatus = _INCOMPLETE


@pytest.fixture(scope="session")
def pg_server(pytestconfig):
    """The server of this run, which starts now; or the one that ADO_TEST_DSN names."""
    return described(os.environ.get("ADO_TEST_DSN") or pytestconfig.stash[_SESSION].postgres.dsn())


pg_template = factories.postgresql_noproc(depends_on="pg_server", dbname=f"ado_{os.getpid()}_", load=[load_schema])


@pytest.fixture(scope="session")
def maintenance(pg_server):
    """A connection that makes and drops databases: to connect for each would take a quarter of the time."""
    with psycopg.connect(dsn_of(pg_server, pg_server.maintenance_dbname), autocommit=True) as connection:
        yield connection


@contextlib.contextmanager
def database(maintenance, pg_server, pg_template):
    """A migrated database of one's own."""
    name = f"ado_{os.getpid()}_test_{next(_numbers)}"
    # copying files takes a third of the time of writing every page to the log; the test server keeps no log to recover
    maintenance.execute(f'create database "{name}" template "{pg_template.template_dbname}" strategy file_copy')
    yield dsn_of(pg_server, name)
    maintenance.execute(f'drop database "{name}" with (force)')


@pytest.fixture
def dsn(maintenance, pg_server, pg_template):
    """A migrated database of the test's own."""
    with database(maintenance, pg_server, pg_template) as made:
        yield made


@pytest.fixture(scope="module")
def shared_dsn(maintenance, pg_server, pg_template):
    """A migrated database of a module's own."""
    with database(maintenance, pg_server, pg_template) as made:
        yield made


@pytest.fixture(scope="session")
def new_database(maintenance, pg_server, pg_template):
    """Make a migrated database in a ``with`` statement, for a fixture with a scope of its own."""
    return functools.partial(database, maintenance, pg_server, pg_template)


@pytest.fixture
def empty_dsn(maintenance, pg_server):
    """An empty database of the test's own."""
    name = f"ado_{os.getpid()}_empty_{next(_numbers)}"
    maintenance.execute(f'create database "{name}"')
    yield dsn_of(pg_server, name)
    maintenance.execute(f'drop database "{name}" with (force)')


@pytest.fixture(scope="session")
def system_server():
    """A server of the system's own Postgres, the oldest that is supported."""
    bindirs = system_bindirs()
    if not bindirs:
        pytest.skip("the system has no Postgres server")
    server, directory, dsn = start_server(bindirs[0])
    yield dsn
    server.stop()
    remove(directory)


@pytest.fixture
def home():
    """A directory of the test's own that other users may enter."""
    directory = fast_directory()
    yield directory
    remove(directory)


@pytest.fixture
def cluster(dsn, home):
    """Two replicas over a database of the test's own; workers are the test's to add."""
    made = Cluster(dsn, home)
    try:
        yield made.add_replicas(2)
    finally:
        made.close()


@pytest.fixture(scope="module")
def shared_cluster(shared_dsn):
    """Two replicas over one database for a module's tests that count and name only what they made themselves."""
    home = fast_directory()
    made = Cluster(shared_dsn, home)
    try:
        yield made.add_replicas(2)
    finally:
        made.close()
        remove(home)


@pytest.fixture(scope="session")
def acp_programs():
    """A fake agent of the Agent Client Protocol, and ado's bridge to it, which start without imports."""
    with served() as programs:
        yield programs


@pytest.fixture
async def no_task_is_left():
    """An asyncio task that outlives its test has no owner."""
    before = asyncio.all_tasks()
    yield
    left = [task for task in asyncio.all_tasks() - before - {asyncio.current_task()} if not task.done()]
    assert not left, f"tasks outlived the test: {left}"


@pytest.fixture(autouse=True)
def tasks(request):
    """Look for tasks that a test with an event loop left; a loop for each of the others would cost 2 ms."""
    if is_async_test(request.node):
        request.getfixturevalue("no_task_is_left")
