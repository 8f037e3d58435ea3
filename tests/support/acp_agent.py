"""An agent of the Agent Client Protocol for tests, on the protocol's own SDK; a program.

It answers with the prompt, after a tool for which it asks. The prompt ``fail`` is an error of the model's service,
``until PATH`` waits for a file, ``sign in PATH`` needs one as its credentials, ``edit NAME`` asks to edit a file, and
``spend N`` uses N tools, each for a quarter of a dollar. ``spend N of M`` uses M, with a pause of a minute after N.
Told that its limit was raised, it goes on with one tool.
"""

import asyncio
from pathlib import Path

import acp
from acp.schema import (
    AgentCapabilities,
    Cost,
    PermissionOption,
    SessionMode,
    SessionModeState,
    ToolCallUpdate,
    Usage,
    UsageUpdate,
)


class Agent:
    """Holds one conversation."""

    def on_connect(self, client):
        self.client = client

    async def initialize(self, **_):
        return acp.InitializeResponse(
            protocol_version=acp.PROTOCOL_VERSION, agent_capabilities=AgentCapabilities(load_session=True)
        )

    async def new_session(self, cwd, **_):
        self.mode = "auto"
        self.cwd = cwd
        modes = [
            SessionMode(id=name, name=name) for name in ("auto", "acceptEdits", "bypassPermissions", "default", "plan")
        ]
        return acp.NewSessionResponse(
            session_id="session-1", modes=SessionModeState(current_mode_id=self.mode, available_modes=modes)
        )

    async def set_session_mode(self, mode_id, **_):
        self.mode = mode_id

    async def load_session(self, session_id, **_):
        if session_id == "gone":
            raise acp.RequestError(-32603, "Internal error", {"details": "No previous sessions found"})
        await self.client.session_update(session_id, acp.update_agent_message_text("an old answer"))
        return acp.LoadSessionResponse()

    async def prompt(self, session_id, prompt, **_):
        text = prompt[0].text
        while text.startswith("until ") and not Path(text.removeprefix("until ")).exists():  # noqa: ASYNC240
            await asyncio.sleep(0.02)
        if text.startswith("sign in ") and not Path(text.removeprefix("sign in ")).exists():  # noqa: ASYNC240
            raise acp.RequestError(-32000, "Authentication required")
        if text == "fail":
            raise acp.RequestError(-32603, "Internal error: status 429 from the service")
        if text.startswith("spend ") or "limit was reached" in text:
            return await self.spend(session_id, *counts(text))
        command = f"edit {self.cwd}/{text.removeprefix('edit ')}" if text.startswith("edit ") else "make"
        call = ToolCallUpdate(tool_call_id="1", title="make", kind="execute", raw_input={"command": command})
        await self.client.session_update(
            session_id, acp.start_tool_call("1", "make", kind="execute", raw_input={"command": "make"})
        )
        options = [PermissionOption(option_id=kind, name=kind, kind=kind) for kind in ("allow_once", "reject_once")]
        answer = await self.client.request_permission(session_id=session_id, tool_call=call, options=options)
        allowed = getattr(answer.outcome, "option_id", "") == "allow_once"
        status = "completed" if allowed else "failed"
        await self.client.session_update(session_id, acp.update_tool_call("1", status=status))
        said = f"mode {self.mode}" if text == "mode?" else f"done with {text}"
        await self.client.session_update(session_id, acp.update_agent_message_text(said))
        return acp.PromptResponse(stop_reason="end_turn")

    async def spend(self, session_id, before_pause, tools):
        for number in map(str, range(1, tools + 1)):
            if int(number) == before_pause + 1:
                await asyncio.sleep(60)  # a test's limit is reached here, and only what stops the agent ends this soon
            await self.client.session_update(session_id, acp.start_tool_call(number, "make", status="in_progress"))
            cost = Cost(amount=0.25 * int(number), currency="USD")
            usage = UsageUpdate(session_update="usage_update", used=1, size=1, cost=cost)
            await self.client.session_update(session_id, usage)
            await self.client.session_update(session_id, acp.update_tool_call(number, status="completed"))
        await self.client.session_update(session_id, acp.update_agent_message_text("spent"))
        usage = Usage(total_tokens=100, input_tokens=90, output_tokens=10)
        return acp.PromptResponse(stop_reason="end_turn", usage=usage)


def counts(text):
    """Return how many tools a prompt asks for before a pause, and in all."""
    words = text.removeprefix("spend ").split(" of ") if text.startswith("spend ") else ["1"]
    return int(words[0]), int(words[-1])


if __name__ == "__main__":
    asyncio.run(acp.run_agent(Agent()))
