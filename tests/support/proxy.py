"""A load balancer for tests: TCP, round robin over backends, whose connections can be cut."""

import asyncio
import contextlib
import threading


class Proxy:
    """Runs in a thread of its own; ``url`` is its origin."""

    def __init__(self, urls):
        self.backends = [url.removeprefix("http://").rsplit(":", 1) for url in urls]
        self.taken = 0
        self._pairs = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *_):
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    async def _stop(self):
        self._server.close()
        await self._cut()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def is_open(self):
        """Whether a client is connected to a backend."""
        return bool(self._pairs)

    def cut(self):
        """Reset every open connection."""
        self._run(self._cut())

    async def _cut(self):
        for writer in [writer for pair in self._pairs for writer in pair]:
            writer.transport.abort()
        self._pairs.clear()

    async def _serve(self, reader, writer):
        for _ in self.backends:
            host, port = self.backends[self.taken % len(self.backends)]
            self.taken += 1
            with contextlib.suppress(OSError):
                up_reader, up_writer = await asyncio.open_connection(host, int(port))
                break
        else:
            writer.transport.abort()
            return
        pair = (writer, up_writer)
        self._pairs.add(pair)
        try:
            await asyncio.gather(self._copy(reader, up_writer), self._copy(up_reader, writer))
        finally:
            self._pairs.discard(pair)
            for end in pair:
                end.close()

    @staticmethod
    async def _copy(reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        with contextlib.suppress(OSError):
            writer.close()
