"""Readers of a log that must see every event once: commands that may be killed, wire clients that change replicas."""

import asyncio
import json
import subprocess
import sys

from app.rpc.client import CallError, Client


class CommandReader:
    """``ado attach -o jsonl`` as a process; killed, it is started again after the last line it had written."""

    def __init__(self, field, task, urls):
        self._field = field
        self._task = task
        self._urls = urls
        self._files = []
        self._start(0)

    def _start(self, after):
        file = self._field.home / f"reader-{id(self)}-{len(self._files)}"
        self._files.append(file)
        arguments = ["attach", self._task, "-o", "jsonl", *(["--from", str(after)] if after else [])]
        with file.open("wb") as output, file.with_suffix(".err").open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "cli", *arguments],
                env=self._field.cluster.client_env(",".join(self._urls)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                cwd="/",
            )
        self._field.cluster.processes.append(self.process)

    def tend(self):
        """Start it again if it never got to its first contact: no task is known to it then."""
        if self.process.poll() is not None and self.process.returncode == 125:
            self._start(len(self.seen()))

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
            self._start(len(self.seen()))

    def seen(self):
        """Return the events of all whole lines."""
        found = []
        for file in self._files:
            found += [json.loads(line) for line in file.read_bytes().split(b"\n")[:-1]]
        return found

    def said(self):
        return b"".join(file.with_suffix(".err").read_bytes() for file in self._files).decode()


async def read_wandering(urls, token, task, rng):
    """Read a log to its end, leaving after some events and coming back to another replica with the cursor."""
    seen = []
    while True:
        urls = urls[1:] + urls[:1]
        enough = rng.randrange(20, 200)
        after = str(seen[-1]["seq"]) if seen else None
        async with Client(urls, token) as client:
            stream = client.subscribe("stream.taskEvents", {"taskId": task}, last_event_id=after)
            try:
                async for item in stream:
                    assert item.id == str(item.data["seq"])
                    seen.append(item.data)
                    enough -= 1
                    if enough == 0:
                        break
                else:
                    return seen
            finally:
                await stream.aclose()


async def read_through(urls, token, task):
    """Read a log to its end with one client, over broken connections."""
    async with Client(urls, token) as client:
        return [item.data async for item in client.subscribe("stream.taskEvents", {"taskId": task})]


class Recorder:
    """A worker of the wire alone that keeps what was acknowledged to it, attempt by attempt."""

    def __init__(self, urls, token, name):
        self._urls = urls
        self._token = token
        self._name = name
        self.acknowledged = {}
        """attempt → chunks whose batches were acknowledged, in order."""

    async def run(self, batches, pause):
        """Register, then run jobs until one attempt was finished with all its batches."""
        async with Client(self._urls, self._token) as client:

            async def call(path, **value):
                return await client.mutate(path, {"workerId": self._name, **value}, resend=True)

            while True:
                try:
                    wish = {"capabilities": ["recorder"], "instance": self._name}
                    session = (await call("workers.register", **wish))["session"]
                    jobs = (await call("workers.claim", session=session, waitSeconds=1))["jobs"]
                    if jobs and await self._attempt(call, session, jobs[0], batches, pause):
                        return
                except CallError:
                    await asyncio.sleep(0.1)  # the database was away, or the attempt was lost: begin again

    async def _attempt(self, call, session, job, batches, pause):
        fence = {"jobId": job["jobId"], "attempt": job["attempt"]}
        kept = self.acknowledged.setdefault(job["attempt"], [])
        while len(kept) < batches:
            await self._patiently(call, "workers.heartbeat", session=session, jobs=[fence])
            number = len(kept) + 1
            data = f"{job['attempt']}.{number}\n"
            event = {"type": "output", "stream": "stdout", "data": data}
            answer = await self._patiently(call, "workers.append", **fence, batch=number, events=[event])
            assert answer == {"acknowledged": number}
            kept.append(data)
            await asyncio.sleep(pause)
        await self._patiently(call, "workers.finish", **fence, lastBatch=batches, outcome="succeeded")
        return True

    @staticmethod
    async def _patiently(call, path, **value):
        """Call until the server decides."""
        while True:
            try:
                return await call(path, **value)
            except CallError as error:
                if error.code != "SERVICE_UNAVAILABLE":
                    raise
                await asyncio.sleep(0.05)
