"""Speaks the Agent AcpClient Protocol with an agent, and writes what it says as lines of JSON; a program of its own.

``python -m worker.agents.acp_bridge DIRECTORY PERMISSIONS SESSION -- COMMAND…``, with ``{"prompt": …, "anew": …}`` on
stdin. PERMISSIONS is ``all`` or ``edits``: nobody can be asked here, so anything else is refused. SESSION is the one
to load, or ``-``; where it cannot be loaded, a new one is begun with the prompt ``anew``. A line is ``{"dir": WHAT,
"data": …}``: new_session, load, load_failed, update, permission, prompt_result or prompt_error. What an agent replays
while it loads a session is not written again.
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
"""The modes of known agents in which they do not ask for what is allowed anyway."""
_HARMLESS = frozenset({"edit", "read", "search", "think"})


def say(what: str, data: Any) -> None:
    """Write a line."""
    sys.stdout.write(json.dumps({"dir": what, "data": data}, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def plain(model: Any) -> Any:
    """Return a message of the protocol as it stands on the wire."""
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


class AcpClient:
    """The side that the agent speaks to: it has no files and no terminal to lend."""

    def __init__(self, permissions: str) -> None:
        self._all = permissions == "all"
        self.loading = False

    async def session_update(self, session_id: str, update: Any, **_: Any) -> None:
        """Write what the agent says."""
        if not self.loading:
            say("update", plain(update))

    async def request_permission(
        self, session_id: str, tool_call: Any, options: list[Any], **_: Any
    ) -> acp.RequestPermissionResponse:
        """Allow, or refuse for want of somebody to ask."""
        allowed = self._all or tool_call.kind in _HARMLESS
        wanted = ("allow_always", "allow_once") if allowed else ("reject_once", "reject_always")
        chosen = next((option for kind in wanted for option in options if option.kind == kind), None)
        say("permission", {"tool": plain(tool_call), "decision": "allowed" if allowed and chosen else "denied"})
        if chosen is None:
            return acp.RequestPermissionResponse(outcome=DeniedOutcome(outcome="cancelled"))
        return acp.RequestPermissionResponse(outcome=AllowedOutcome(outcome="selected", option_id=chosen.option_id))


async def load(agent: Any, client: AcpClient, directory: str, session: str) -> Any:
    """Load a session and return the answer; None where the agent does not know it any more."""
    client.loading = True
    try:
        opened = await agent.load_session(cwd=directory, mcp_servers=[], session_id=session)
    except acp.RequestError as error:
        say("load_failed", {"session_id": session, "msg": str(error), "data": str(error.data or "")})
        return None
    finally:
        client.loading = False
    say("load", {"session_id": session})
    return opened


async def choose_mode(agent: Any, session: str, opened: Any, permissions: str) -> None:
    """Set the mode that fits the permissions, where the agent has one: claude's bridge begins in one that asks."""
    offered = [mode.id for mode in (opened.modes.available_modes if opened.modes else [])]
    mode = next((mode for mode in _MODES[permissions] if mode in offered), None)
    if mode is not None:
        await agent.set_session_mode(session_id=session, mode_id=mode)


async def converse(directory: str, permissions: str, session: str, command: list[str]) -> int:
    """Hold one conversation; return the exit code."""
    client = AcpClient(permissions)
    ours = cast(Any, client)  # it has no other methods, because it says that it can do nothing else
    prompts = json.loads(sys.stdin.read())
    options = {"limit": _LINE_BYTES}
    program, *arguments = command
    async with acp.spawn_agent_process(
        ours, program, *arguments, env=os.environ, cwd=directory, transport_kwargs={**options, "stderr": None}
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
                say("new_session", {"session_id": session})
            await choose_mode(agent, session, opened, permissions)
            answer = await agent.prompt(session_id=session, prompt=[acp.text_block(prompt)])
        except acp.RequestError as error:
            say("prompt_error", {"code": error.code, "msg": str(error), "data": str(error.data or "")})
            return 1
        say("prompt_result", plain(answer))
        process.terminate()
    return 0 if answer.stop_reason == "end_turn" else 1


def main(arguments: list[str]) -> int:
    """Run the bridge."""
    directory, permissions, session, _, *command = arguments
    return asyncio.run(converse(directory, permissions, session, command))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
