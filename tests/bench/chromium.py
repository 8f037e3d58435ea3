"""A real Chromium without a window, driven as lightly as possible, so that the driver does not measure itself.

Playwright is told of every frame of a WebSocket, which takes more of two cores than the page needs for the frames. Here
nothing of DevTools is enabled but the page's script.
"""

import asyncio
import contextlib
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson

from tests.bench.wire import LightSocket

_OPTIONS = (
    "--headless=new", "--remote-debugging-port=0", "--remote-allow-origins=*", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--no-first-run", "--disable-gpu",
    "--no-sandbox", "--window-size=1280,800",
)  # fmt: skip
_START_SECONDS = 60
_VALUE_SECONDS = 120  # a promise that nothing keeps would hold up a benchmark for ever


class Browser:
    """A running browser."""

    def __init__(self) -> None:
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._numbers = itertools.count(1)
        self._socket: LightSocket

    async def connect(self, port: int, path: str) -> None:
        """Connect to DevTools."""
        self._socket = await LightSocket.open(f"http://127.0.0.1:{port}", self._heard, path=path)

    def _heard(self, text: bytes) -> None:
        message = orjson.loads(text)
        if (waiting := self._waiting.pop(message.get("id"), None)) and not waiting.done():
            waiting.set_result(message)

    async def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Call a method of DevTools; raises RuntimeError for a refusal."""
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        members = {"id": number, "method": method, "params": params}
        self._socket.send(orjson.dumps(members if session is None else {**members, "sessionId": session}))
        message = await answer
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error']['message']}")
        result: dict[str, Any] = message["result"]
        return result

    @contextlib.asynccontextmanager
    async def page(self, script: str) -> AsyncIterator["Page"]:
        """Give a page with a cache and storage of its own; a script runs in it before the page's own."""
        context = (await self.call("Target.createBrowserContext"))["browserContextId"]
        target = (await self.call("Target.createTarget", url="about:blank", browserContextId=context))["targetId"]
        session = (await self.call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        await self.call("Page.enable", session)
        await self.call("Page.addScriptToEvaluateOnNewDocument", session, source=script)
        try:
            yield Page(self, session)
        finally:
            await self.call("Target.disposeBrowserContext", browserContextId=context)

    def close(self) -> None:
        """Cut the connection."""
        self._socket.close()


class Page:
    """One page of a browser."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of DevTools for this page."""
        return await self._browser.call(method, self._session, **params)

    async def go(self, address: str) -> None:
        """Open an address; the page may not have loaded yet."""
        await self.call("Page.navigate", url=address)

    async def value(self, expression: str) -> Any:
        """Return the value of an expression; a promise's, once it has one. Raises RuntimeError, TimeoutError."""
        async with asyncio.timeout(_VALUE_SECONDS):
            done = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in done:
            raise RuntimeError(str(done["exceptionDetails"]))
        return done["result"].get("value")

    async def until(self, expression: str, seconds: float) -> Any:
        """Wait until an expression gives something true, and return it."""
        async with asyncio.timeout(seconds):
            while not (found := await self.value(expression)):
                await asyncio.sleep(0.1)
        return found


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Run a browser."""
    program = shutil.which("chromium")
    if program is None:
        raise RuntimeError("there is no chromium: install it, e.g. apt-get install chromium")
    with tempfile.TemporaryDirectory(prefix="ado-bench-chromium-", ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            program, *_OPTIONS, f"--user-data-dir={profile}", "about:blank",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        browser = Browser()
        try:
            port, path = await _told(Path(profile) / "DevToolsActivePort")
            await browser.connect(port, path)
            yield browser
            with contextlib.suppress(RuntimeError):
                await browser.call("Browser.close")
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


async def _told(file: Path) -> tuple[int, str]:
    """Wait until the browser has written where DevTools listen."""
    async with asyncio.timeout(_START_SECONDS):
        while len(lines := _lines(file)) < 2:
            await asyncio.sleep(0.05)
    return int(lines[0]), lines[1]


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []
