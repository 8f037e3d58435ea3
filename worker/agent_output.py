"""What one agent writes to stdout and stderr, read into an outbox until both pipes end.

The lines of an AI agent become events. The output of any other program stays as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from worker.agents.base import AgentReader
from worker.agents.stream import AgentStream
from worker.agents.verdict import Event, Outcome, exit_outcome
from worker.output.buffer import Outbox
from worker.output.masking import NO_SECRETS, Secrets
from worker.output.pipes import OutputReader
from worker.processes.process import KeptProcess, ProcessEnd
from worker.task_group import task_group


class AgentOutput:
    """Reads the pipes of one process; without ``reader`` its stdout is plain output.

    Output is masked if ``secrets`` are given. ``on_event`` is called with each event of an AI agent.
    ``directory`` is removed from the beginning of paths in event titles.
    """

    def __init__(
        self,
        process: KeptProcess,
        reader: AgentReader | None,
        outbox: Outbox,
        secrets: Secrets | None = None,
        on_event: Callable[[Event], object] = lambda _: None,
        directory: str = "",
    ) -> None:
        self._reader = reader
        self.stream: AgentStream | None = None
        if reader is None:
            self._pipes = OutputReader([(process.stdout, "stdout"), (process.stderr, "stderr")], outbox, secrets)
        else:
            self.stream = AgentStream(process.stdout, reader, outbox, secrets or NO_SECRETS, on_event, directory)
            self._pipes = OutputReader([(process.stderr, "stderr")], outbox, secrets, self.stream.feed_stderr)

    async def run(self) -> None:
        """Read both pipes to their end of file."""
        async with task_group() as group:
            if self.stream is not None:
                group.create_task(self.stream.run(), name="agent stream")
            await asyncio.shield(self._pipes.done)

    def outcome(self, end: ProcessEnd) -> Outcome:
        """Return the outcome of the run, from what the agent reported and how its process ended."""
        if self._reader is None or self.stream is None:
            return exit_outcome(end)
        return self.stream.explain(self._reader.outcome(end))

    def close(self) -> None:
        """Stop reading; what is held back is sent."""
        self._pipes.close()
