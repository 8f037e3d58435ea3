"""A link of the network for tests: between two ends it delays, throttles, cuts, half-closes, stops and goes deaf."""

import asyncio
import contextlib
import itertools
import threading

_CHUNK = 16 * 1024
UP, DOWN = "up", "down"


class Link:
    """Forwards what comes to ``address`` to its targets in turn; an end is ``(host, port)`` or a unix socket's path.

    Runs in a thread of its own, so that a test that blocks does not stop the traffic. ``delay`` is in seconds a chunk,
    ``rate`` in bytes a second and direction.
    """

    def __init__(self, *targets, listen=("127.0.0.1", 0)):
        self.address = listen
        self.delay = 0.0
        self.rate = None
        self.taken = 0
        self._targets = itertools.cycle(targets)
        self._count = len(targets)
        self._deaf = False
        self._refusing = False
        self._flows = set()
        self._ends = set()
        self._serving = set()
        self._reaching = 0
        self._going = {UP: asyncio.Event(), DOWN: asyncio.Event()}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="link", daemon=True)

    @property
    def url(self):
        return f"http://{self.address[0]}:{self.address[1]}"

    def __enter__(self):
        self._thread.start()
        self._do(self._open)
        self.go()
        return self

    def __exit__(self, *_):
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    def _do(self, act, *arguments):
        async def call():
            return await act(*arguments)

        return self._run(call())

    async def _open(self):
        if isinstance(self.address, tuple):
            self._server = await asyncio.start_server(self._serve, *self.address)
            self.address = self._server.sockets[0].getsockname()
        else:
            self.address.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(self._serve, self.address)
            self.address.chmod(0o777)

    async def _close(self):
        self._refusing = True
        while accepting := asyncio.all_tasks() - {asyncio.current_task()} - self._serving:
            await asyncio.wait(accepting)  # asyncio's own; a server closed under them leaves their sockets open
        self._server.close()
        while self._reaching:
            await asyncio.sleep(0.005)
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        for writer in self._ends:
            writer.transport.abort()
        await asyncio.gather(*(writer.wait_closed() for writer in self._ends), return_exceptions=True)

    # what a test does to the link

    def cut(self):
        """Reset every open connection."""
        self._do(self._cut)

    def half_close(self, direction):
        """End one direction of every open connection; the other stays open."""
        self._do(self._half_close, direction)

    def stop(self, *directions):
        """Let nothing through any more, in one direction or both; what is sent waits."""
        self._do(self._set, directions or (UP, DOWN), False)

    def go_deaf(self):
        """Take connections and answer nothing on any of them, old or new."""
        self._deaf = True
        self.stop()

    def go(self):
        """Let everything through again: stopped traffic continues where it was."""
        self._deaf = False
        self._do(self._set, (UP, DOWN), True)

    def refuse(self):
        """Reset every connection, open or new."""
        self._refusing = True
        self.cut()

    def accept(self):
        """Take connections again."""
        self._refusing = False

    async def _cut(self):
        for flow in list(self._flows):
            for writer in flow:
                writer.transport.abort()

    async def _half_close(self, direction):
        for below, above in list(self._flows):
            with contextlib.suppress(OSError, RuntimeError):
                (above if direction == UP else below).write_eof()

    async def _set(self, directions, going):
        for direction in directions:
            if going:
                self._going[direction].set()
            else:
                self._going[direction].clear()

    # traffic

    async def _serve(self, reader, writer):
        self.taken += 1
        self._serving.add(asyncio.current_task())
        self._ends.add(writer)
        far = None
        try:
            while self._deaf and not self._refusing:
                await asyncio.sleep(0.02)
            if self._refusing:
                writer.transport.abort()
                return
            self._reaching += 1  # a connection that is being made is not given up halfway: nobody would close it
            try:
                far = await self._reach()
            finally:
                self._reaching -= 1
            if far is None:
                writer.transport.abort()
                return
            far_reader, far_writer = far
            self._flows.add((writer, far_writer))
            copies = [
                asyncio.ensure_future(self._copy(reader, far_writer, UP)),
                asyncio.ensure_future(self._copy(far_reader, writer, DOWN)),
            ]
            self._serving.update(copies)
            await asyncio.gather(*copies)
        except asyncio.CancelledError:
            pass  # the link is being taken down; raised on, asyncio would report it as an error
        finally:
            for end in (writer, far[1]) if far else (writer,):
                end.close()
            self._flows.discard((writer, far and far[1]))

    async def _reach(self):
        for _ in range(self._count):
            target = next(self._targets)
            with contextlib.suppress(OSError):
                if isinstance(target, tuple):
                    reader, writer = await asyncio.open_connection(*target)
                else:
                    reader, writer = await asyncio.open_unix_connection(target)
                self._ends.add(writer)
                return reader, writer
        return None

    async def _copy(self, reader, writer, direction):
        with contextlib.suppress(OSError, RuntimeError):
            while data := await reader.read(_CHUNK):
                if self.delay:
                    await asyncio.sleep(self.delay)
                if self.rate:
                    await asyncio.sleep(len(data) / self.rate)
                await self._going[direction].wait()
                writer.write(data)
                await writer.drain()
            await self._going[direction].wait()
            writer.write_eof()
