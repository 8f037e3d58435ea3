"""Waits until tasks have ended, and tells the person when one is paused or resumed meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

from cli.bell import ring_for_end, ring_for_question
from cli.output import talk
from cli.remote.checked_calls import socket
from cli.remote.contexts import ServerContext
from cli.remote.log_reader import LogReader
from cli.remote.retry import FIRST_CONTACT_SECONDS
from cli.remote.summary import paused
from cli.render.lines import note


def wait_for(server: ServerContext, names: list[str], *, first_only: bool, notify: bool) -> list[dict[str, Any]]:
    """Return the tasks that have ended: all of them, or as soon as there is one. Raises CallError, NoAnswer.

    With ``notify`` the terminal's bell rings for each end, and for each question meanwhile.
    """
    return asyncio.run(_wait(server, names, first_only=first_only, notify=notify))


async def _wait(server: ServerContext, names: list[str], *, first_only: bool, notify: bool) -> list[dict[str, Any]]:
    async with socket(server, first_contact_seconds=FIRST_CONTACT_SECONDS) as client:

        async def ended(name: str) -> dict[str, Any]:
            task: dict[str, Any] = await client.query("tasks.get", {"taskId": name})
            if task["status"] == "paused":
                talk(f"ado: {name}: {paused(task)}")
            async for item in LogReader("stream.taskProgress", {"taskId": name}).read(client):
                event = item.data
                is_reported = event["type"] in ("paused", "resumed") or event.get("paused")
                if is_reported and event["seq"] > task["lastSeq"]:
                    talk(note(event))
                if notify and event["type"] == "question" and event["seq"] > task["lastSeq"]:
                    ring_for_question(event)
            ended_task: dict[str, Any] = await client.query("tasks.get", {"taskId": name})
            if notify:
                ring_for_end(ended_task)
            return ended_task

        waiting = [asyncio.create_task(ended(name), name=name) for name in names]
        try:
            until = asyncio.FIRST_COMPLETED if first_only else asyncio.FIRST_EXCEPTION
            done, _ = await asyncio.wait(waiting, return_when=until)
            return [task.result() for task in waiting if task in done]
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
