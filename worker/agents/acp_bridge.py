"""Speaks the Agent Client Protocol with an agent, and writes its messages as lines of JSON; a program of its own.

``python -m worker.agents.acp_bridge DIRECTORY PERMISSIONS SESSION -- COMMAND…``, with a line ``{"prompt": …, "anew": …,
"takesWords": …}`` on stdin. If it takes words, each further line ``{"words": …, "key": …}`` is another turn, until the
end of stdin. PERMISSIONS is ``all`` or ``edits``; requests for others are refused, because nobody can answer. SESSION
is the session to load, or ``-``. If it cannot be loaded, a new session begins with the prompt ``anew``. A line is
``{"dir": KIND, "data": …}`` with a KIND of new_session, load, load_failed, update, permission, words, prompt_result or
prompt_error; words repeats the key at the beginning of their turn. Messages that an agent repeats while it loads a
session are not written.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any, cast

import acp
from acp.schema import AllowedOutcome, ClientCapabilities, DeniedOutcome

_LINE_BYTES = 32 * 1024 * 1024
_MODES = {
    "all": ("bypassPermissions", "full-access", "yolo"),
    "edits": ("acceptEdits", "autoEdit", "auto_edit"),
}
"""The modes of known agents in which they do not ask for these permissions."""
_HARMLESS = frozenset({"edit", "read", "search", "think"})


def write_line(kind: str, data: Any) -> None:
    """Write a line."""
    sys.stdout.write(json.dumps({"dir": kind, "data": data}, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def plain(model: Any) -> Any:
    """Return a message of the protocol in its wire form."""
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


class AcpClient:
    """The client side of the protocol; it offers the agent no files and no terminal."""

    def __init__(self, permissions: str) -> None:
        self._all = permissions == "all"
        self.loading = False

    async def session_update(self, session_id: str, update: Any, **_: Any) -> None:
        """Write an update, unless the agent repeats it while it loads a session."""
        if not self.loading:
            write_line("update", plain(update))

    async def request_permission(
        self, session_id: str, tool_call: Any, options: list[Any], **_: Any
    ) -> acp.RequestPermissionResponse:
        """Allow a tool, or refuse it because nobody can be asked."""
        allowed = self._all or tool_call.kind in _HARMLESS
        kinds = ("allow_always", "allow_once") if allowed else ("reject_once", "reject_always")
        chosen = next((option for kind in kinds for option in options if option.kind == kind), None)
        write_line("permission", {"tool": plain(tool_call), "decision": "allowed" if allowed and chosen else "denied"})
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


async def choose_mode(agent: Any, session: str, opened: Any, permissions: str) -> None:
    """Set the mode for the permissions, if the agent has one: claude's bridge begins in a mode that asks."""
    offered = [mode.id for mode in (opened.modes.available_modes if opened.modes else [])]
    mode = next((mode for mode in _MODES[permissions] if mode in offered), None)
    if mode is not None:
        await agent.set_session_mode(session_id=session, mode_id=mode)


async def converse(directory: str, permissions: str, session: str, command: list[str]) -> int:
    """Hold one conversation; return the exit code."""
    client = AcpClient(permissions)
    # a cast, because the client has no methods for the capabilities that it does not declare
    declared = cast(Any, client)
    prompts = json.loads(sys.stdin.readline())
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
                line = await asyncio.to_thread(sys.stdin.readline) if prompts.get("takesWords") else ""
                if not line:
                    break
                said = json.loads(line)
                write_line("words", {"key": said["key"]})
                prompt = said["words"]
        except acp.RequestError as error:
            write_line("prompt_error", {"code": error.code, "msg": str(error), "data": str(error.data or "")})
            return 1
        process.terminate()
    return 0 if answer.stop_reason == "end_turn" else 1


def main(arguments: list[str]) -> int:
    """Run the bridge."""
    directory, permissions, session, _, *command = arguments
    return asyncio.run(converse(directory, permissions, session, command))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
