"""Speaks the Agent Client Protocol with an agent, and writes its messages as lines of JSON; a program of its own.

``python -m worker.agents.acp_bridge DIRECTORY PERMISSIONS SESSION -- COMMAND…``, with a line ``{"prompt": …, "anew": …,
"takesWords": …}`` on stdin. If it takes words, each further line ``{"words": …, "key": …}`` is another turn, until the
end of stdin. SESSION is the session to load, or ``-``. If it cannot be loaded, a new session begins with the prompt
``anew``.

PERMISSIONS is ``ask``, ``edits``, ``all`` or ``none``. For more, the line ``ask`` with a key asks, and a line ``{"key":
…, "allow": …, "decided": …}`` on stdin answers. If no words are taken, or with ``none``, more is refused.

A line is ``{"dir": KIND, "data": …}`` with a KIND of new_session, load, load_failed, update, ask, permission, words,
prompt_result or prompt_error; words repeats the key at the beginning of their turn. Messages that an agent repeats
while it loads a session are not written.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import uuid
from typing import Any, cast

import acp
from acp.schema import AllowedOutcome, ClientCapabilities, DeniedOutcome

_LINE_BYTES = 32 * 1024 * 1024
_MODES = {
    "ask": ("default",),
    "edits": ("acceptEdits", "autoEdit", "auto_edit"),
    "all": ("bypassPermissions", "full-access", "yolo"),
    "none": ("plan",),
}
"""The modes of known agents in which they ask for what needs a person's permission, and for nothing else."""
_READING = frozenset({"read", "search", "think"})
_HARMLESS = {"ask": _READING, "edits": _READING | {"edit"}, "none": _READING}
"""Kinds of tools that nobody is asked about."""
_ONCE = ("allow_once", "allow_always")
_ALLOWING = {"ask": _ONCE, "edits": _ONCE, "all": ("allow_always", "allow_once"), "none": _ONCE}
"""Kinds of options by which a tool is allowed. Whether an answer is remembered is the server's to decide."""


def write_line(kind: str, data: Any) -> None:
    """Write a line."""
    sys.stdout.write(json.dumps({"dir": kind, "data": data}, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def plain(model: Any) -> Any:
    """Return a message of the protocol in its wire form."""
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


class Replies:
    """The lines on stdin after the first: words for further turns, and answers to what was asked."""

    def __init__(self, lines: asyncio.StreamReader) -> None:
        self._lines = lines
        self._asked: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self.words: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        """Words in order, and None at the end of stdin."""
        self.ended = False

    async def run(self) -> None:
        """Read to the end of stdin. What is asked then gets no answer."""
        while line := await self._lines.readline():
            said = json.loads(line)
            if "words" in said:
                self.words.put_nowait(said)
            elif (answer := self._asked.pop(said["key"], None)) is not None:
                answer.set_result(said)
        self.ended = True
        self.words.put_nowait(None)
        for answer in self._asked.values():
            answer.set_result({"allow": False})

    async def ask(self, tool: Any) -> dict[str, Any]:
        """Ask for a tool, and return the answer."""
        if self.ended:
            return {"allow": False}
        key = str(uuid.uuid4())
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._asked[key] = answer
        write_line("ask", {"key": key, "tool": tool})
        return await answer


class AcpClient:
    """The client side of the protocol; it offers the agent no files and no terminal."""

    def __init__(self, permissions: str, replies: Replies | None) -> None:
        self._permissions = permissions
        self._replies = replies
        self.loading = False

    async def session_update(self, session_id: str, update: Any, **_: Any) -> None:
        """Write an update, unless the agent repeats it while it loads a session."""
        if not self.loading:
            write_line("update", plain(update))

    async def request_permission(
        self, session_id: str, tool_call: Any, options: list[Any], **_: Any
    ) -> acp.RequestPermissionResponse:
        """Allow a tool, ask for it, or refuse it."""
        tool, answer = plain(tool_call), {"allow": True}
        if self._permissions != "all" and tool_call.kind not in _HARMLESS[self._permissions]:
            can_ask = self._replies is not None and self._permissions != "none"
            answer = await self._replies.ask(tool) if can_ask and self._replies else {"allow": False}
        kinds = _ALLOWING[self._permissions] if answer["allow"] else ("reject_once", "reject_always")
        chosen = next((option for kind in kinds for option in options if option.kind == kind), None)
        decision = "allowed" if answer["allow"] and chosen else "denied"
        write_line("permission", {"tool": tool, "decision": decision, "decided": answer.get("decided", False)})
        if chosen is None:
            return acp.RequestPermissionResponse(outcome=DeniedOutcome(outcome="cancelled"))
        return acp.RequestPermissionResponse(outcome=AllowedOutcome(outcome="selected", option_id=chosen.option_id))


async def load(agent: Any, client: AcpClient, directory: str, session: str) -> Any:
    """Load a session and return the answer; None if the agent does not know it."""
    client.loading = True
    try:
        opened = await agent.load_session(cwd=directory, mcp_servers=[], session_id=session)
    except acp.RequestError as error:
        write_line("load_failed", {"session_id": session, "msg": str(error), "data": str(error.data or "")})
        return None
    finally:
        client.loading = False
    write_line("load", {"session_id": session})
    return opened


async def stdin_lines() -> asyncio.StreamReader:
    """Return the lines of stdin."""
    lines = asyncio.StreamReader(limit=_LINE_BYTES)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    return lines


async def choose_mode(agent: Any, session: str, opened: Any, permissions: str) -> None:
    """Set the mode for the permissions, if the agent has one: claude's bridge begins in a mode that asks."""
    offered = [mode.id for mode in (opened.modes.available_modes if opened.modes else [])]
    mode = next((mode for mode in _MODES[permissions] if mode in offered), None)
    if mode is not None:
        await agent.set_session_mode(session_id=session, mode_id=mode)


async def converse(directory: str, permissions: str, session: str, command: list[str]) -> int:
    """Hold one conversation; return the exit code."""
    lines = await stdin_lines()
    prompts = json.loads(await lines.readline())
    replies = Replies(lines) if prompts.get("takesWords") else None
    client = AcpClient(permissions, replies)
    # a cast, because the client has no methods for the capabilities that it does not declare
    declared = cast(Any, client)
    reading = asyncio.create_task(replies.run()) if replies else None
    options = {"limit": _LINE_BYTES}
    program, *arguments = command
    async with acp.spawn_agent_process(
        declared, program, *arguments, env=os.environ, cwd=directory, transport_kwargs={**options, "stderr": None}
    ) as (agent, process):
        try:
            await agent.initialize(
                protocol_version=acp.PROTOCOL_VERSION, client_capabilities=ClientCapabilities(terminal=False)
            )
            prompt = prompts["prompt"]
            opened = None if session == "-" else await load(agent, client, directory, session)
            if opened is None:
                prompt = prompt if session == "-" else prompts["anew"]
                opened = await agent.new_session(cwd=directory, mcp_servers=[])
                session = opened.session_id
                write_line("new_session", {"session_id": session})
            await choose_mode(agent, session, opened, permissions)
            while True:
                answer = await agent.prompt(session_id=session, prompt=[acp.text_block(prompt)])
                write_line("prompt_result", plain(answer))
                said = await replies.words.get() if replies else None
                if said is None:
                    break
                write_line("words", {"key": said["key"]})
                prompt = said["words"]
        except acp.RequestError as error:
            write_line("prompt_error", {"code": error.code, "msg": str(error), "data": str(error.data or "")})
            return 1
        finally:
            if reading is not None:
                reading.cancel()
        process.terminate()
    return 0 if answer.stop_reason == "end_turn" else 1


def main(arguments: list[str]) -> int:
    """Run the bridge."""
    directory, permissions, session, _, *command = arguments
    return asyncio.run(converse(directory, permissions, session, command))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
