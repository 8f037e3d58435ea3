"""Agents of the Agent Client Protocol: opencode, and any other by configuration.

Such an agent runs under a bridge (``acp_bridge``), which speaks the protocol and writes the agent's messages as JSON
lines. The protocol has no exit code, and no error but a failed call. So ``end_turn`` after a failure counts as success,
if there is a sign of work.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from app.core.approvals import Approval
from app.core.programs import module
from worker.agents import events
from worker.agents.base import AgentReader, Launch, Needs, Run, TextBuffer
from worker.agents.programs import find, status_in
from worker.agents.project import instructions, refuse_settings
from worker.agents.requests import AgentRequest, PersonsAnswer, use_of
from worker.agents.verdict import Event, Verdict

DEFAULT = ("opencode=opencode acp",)
_KINDS = {"edit": "edit", "delete": "edit", "move": "edit", "execute": "bash", "read": "read", "search": "search",
          "fetch": "fetch"}  # fmt: skip
_ENDED = frozenset({"completed", "failed"})
_SYSTEM_ERROR = "systemError"
_AUTH_REQUIRED, _UNAUTHORIZED = -32000, 401
"""The protocol's code for missing credentials, and the HTTP status with the same meaning."""
_SESSIONS = (
    ".local/share/opencode/opencode.db*",
    ".claude/projects/*/{session}*",
    ".codex/sessions/**/*{session}*",
    ".gemini/tmp/*/chats/*",
)
_NAMES = (".gemini/tmp/*/.project_root", ".gemini/projects.json")
"""Where known agents and bridges keep their sessions."""
_QUIET = {"OPENCODE_DISABLE_AUTOUPDATE": "1", "OPENCODE_DISABLE_LSP_DOWNLOAD": "1", "OPENCODE_DISABLE_SHARE": "1",
          "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1", "OPENCODE_DISABLE_MODELS_FETCH": "1"}  # fmt: skip
_ASKING = ("edit", "bash", "webfetch", "external_directory")
_WITHOUT_PROJECT = {"OPENCODE_DISABLE_PROJECT_CONFIG": "1", "OPENCODE_PURE": "1"}
_SETTINGS = {"opencode": (".opencode", "opencode.json", "opencode.jsonc")}
"""opencode 1.18 loads the plugins that these name even if plugins are switched off."""
_ANY_SETTINGS = (".claude/settings.json", ".claude/settings.local.json", ".mcp.json", ".gemini", ".codex",
                 *_SETTINGS["opencode"])  # fmt: skip
_OPENCODE = Needs(
    "opencode",
    variables=("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY", "OPENROUTER_API_KEY", "OPENCODE_API_KEY"),
    elsewhere=("OPENCODE_CONFIG_CONTENT",),
    files=(".local/share/opencode/auth.json",),
    install="npm install -g opencode-ai",
    sign_in="set the API key of a provider, or run: opencode auth login",
)


def configured(entries: Iterable[str]) -> dict[str, AcpAgent]:
    """Return the agents of NAME=COMMAND entries."""
    pairs = (entry.partition("=")[::2] for entry in entries)
    return {name.strip(): AcpAgent(shlex.split(command)) for name, command in pairs if command.strip()}


def _careful(approve: Approval) -> dict[str, str]:
    """Return the variable with which opencode asks; it allows every tool by default."""
    asks = ("bash", "webfetch", "external_directory") if approve == "edits" else _ASKING
    return {"OPENCODE_PERMISSION": json.dumps(dict.fromkeys(asks, "ask"))}


def _instructed(run: Run) -> dict[str, str]:
    """Return the variables with which opencode ignores project settings but reads AGENTS.md."""
    try:
        config = json.loads(run.env.get("OPENCODE_CONFIG_CONTENT") or "{}")
        files = [*config.get("instructions", []), *map(str, instructions(run, "AGENTS.md"))]
    except (ValueError, TypeError, AttributeError):  # JSON with comments, or no object: opencode reports errors itself
        return _WITHOUT_PROJECT
    return {**_WITHOUT_PROJECT, "OPENCODE_CONFIG_CONTENT": json.dumps({**config, "instructions": files})}


def _line(text: str, key: str) -> str:
    """Return words as a line of the bridge's stdin."""
    return json.dumps({"words": text, "key": key}) + "\n"


class AcpAgent:
    """An agent that is started by a command and speaks the protocol."""

    converses = True
    takes_messages = True

    def __init__(self, command: list[str]) -> None:
        self._command = command
        program = command[0]
        self.needs = _OPENCODE if program == "opencode" else Needs(program, install=f"install {program}")

    def launch(self, run: Run) -> Launch:
        """Return the bridge with the agent's command."""
        if run.args.get("model"):
            raise OSError("it takes its model from its own settings, not from agentArgs")
        program, *arguments = self._command
        bridge = module("worker.agents.acp_bridge", str(run.directory))
        bridge += [run.approve, run.session or "-", "--", find(program), *arguments]
        env = {} if run.local else _QUIET if run.approve == "all" else {**_QUIET, **_careful(run.approve)}
        if not run.local and not run.trust_project:
            refuse_settings(run, _SETTINGS.get(program, _ANY_SETTINGS), program)
            env = {**env, **_instructed(run)}
        takes_words = not (run.local or run.stdin)
        first = {"prompt": run.prompt, "anew": run.anew or run.prompt, "takesWords": takes_words}
        return Launch(bridge, env, json.dumps(first) + "\n", _line if takes_words else None)

    def reader(self, run: Run) -> AcpReader:
        """Return a reader of the bridge's lines."""
        return AcpReader(run)

    def session_files(self, home: Path, session: str) -> list[Path]:
        """Return the session's files of known agents; an empty list for other agents."""
        plain = session if session.replace("-", "").replace("_", "").isalnum() else "-"
        files = [path for pattern in _SESSIONS for path in home.glob(pattern.format(session=plain))]
        names = [path for pattern in _NAMES for path in home.glob(pattern)]
        return sorted({*files, *names}) if files else []


class AcpReader(AgentReader):
    """Reads one run."""

    def __init__(self, run: Run) -> None:
        super().__init__(run, needs_evidence=True)
        self._handlers = {
            "new_session": self._session,
            "load": self._session,
            "update": self._update,
            "ask": self._ask,
            "permission": self._permission,
            "words": self._begin_turn,
            "prompt_result": self._result,
            "prompt_error": self._error,
        }
        self._ended: dict[str, float] = {}
        self._cost: dict[str, float] = {}
        self._tools: dict[str, dict[str, Any]] = {}
        self._text = TextBuffer()

    def feed(self, line: Mapping[str, Any]) -> list[Event]:
        """Return the events of a line of the bridge."""
        return super().feed({**(line.get("data") or {}), "type": line.get("dir")})

    def _session(self, data: Mapping[str, Any]) -> list[Event]:
        self.session = data.get("session_id") or self.session
        return [events.session(str(self.session))]

    def _begin_turn(self, data: Mapping[str, Any]) -> list[Event]:
        self.confirmed.append(str(data.get("key")))
        self._verdict = Verdict(needs_evidence=True)
        return []

    def _update(self, data: Mapping[str, Any]) -> list[Event]:
        match data.get("sessionUpdate"):
            case "agent_message_chunk":
                text = str((data.get("content") or {}).get("text", ""))
                self._text.add(text)
                return [events.text_delta(text)]
            case "agent_thought_chunk":
                return [events.other((data.get("content") or {}).get("text"))]
            case "tool_call" | "tool_call_update":
                return self._tool(data)
            case "usage_update":
                return self._count_cost(data)
        return []

    def _count_cost(self, data: Mapping[str, Any]) -> list[Event]:
        """Note the cost in dollars, a sum over the session; it counts even if the turn does not end."""
        cost = data.get("cost") or {}
        if cost.get("currency") == "USD":
            self._cost = self._count_session_usage(events.counted(costUsd=cost.get("amount")))
            self.usage = {**(self.usage or {}), **self._cost}
        return []

    def _tool(self, data: Mapping[str, Any]) -> list[Event]:
        """Return a tool's start once its parameters are known, and its end with its status."""
        tool_id = data["toolCallId"]
        known = self._tools.setdefault(tool_id, {"isStarted": False})
        known.update({key: value for key, value in data.items() if value not in (None, [], {})})
        tool_events: list[Event] = []
        status = known.get("status", "pending")
        name, kind, title = _named(known)
        if not known["isStarted"] and status != "pending":
            known["isStarted"] = True
            tool_events += [*self._text.whole(), events.tool_start(tool_id, name, kind, title)]
        if status in _ENDED:
            del self._tools[tool_id]
            ok = status == "completed"
            if ok:
                self._verdict.allow(name)
            added, removed = _edited(known)
            tool_events.append(
                events.tool_end(
                    tool_id, name, kind, title, ok=ok, exit_code=_exit_code(known), added=added, removed=removed,
                    output=_output(known),
                )
            )  # fmt: skip
        return tool_events

    def _permission(self, data: Mapping[str, Any]) -> list[Event]:
        tool = data.get("tool") or {}
        decision = data.get("decision", "allowed")
        name, _, title = _named(tool)
        if decision == "denied" and not data.get("decided"):  # what a person refused is no failure of the run
            self._refuse(name, title)
        return [*self._text.whole(), events.permission(name, decision, title)]

    def _ask(self, data: Mapping[str, Any]) -> list[Event]:
        """Note a request for permission. The protocol names the kind of a tool; one without a kind has its title."""
        tool, key = data["tool"], str(data["key"])
        name, kind, title = _named(tool)
        value = tool.get("rawInput") or tool.get("content")
        asked = use_of(key, title if kind == "other" and title else name, title, value)

        def reply(answers: Sequence[PersonsAnswer]) -> str:
            (answer,) = answers
            return json.dumps({"key": key, "allow": answer.allows, "decided": not answer.unanswered}) + "\n"

        self.requests.append(AgentRequest([asked], reply))
        return self._text.whole()

    def _result(self, data: Mapping[str, Any]) -> list[Event]:
        written = self._text.whole()
        meta = data.get("_meta") or {}
        failed = _SYSTEM_ERROR in json.dumps(meta)  # codex-acp answers end_turn also when the model call failed
        ok = data.get("stopReason") == "end_turn" and not failed
        text = self._text.last if ok else "its model call failed" if failed else f"it stopped: {data.get('stopReason')}"
        self._verdict.end(ok, text)
        self._ended = events.total(self._ended, _tokens(data, meta))
        self.usage = {**self._ended, **self._cost}
        self.result = {"text": text}
        return [*written, events.usage(self.usage), events.result(ok, text)]

    def _error(self, data: Mapping[str, Any]) -> list[Event]:
        message = f"{data.get('msg', '')} {data.get('data', '')}".strip()
        status = _UNAUTHORIZED if data.get("code") == _AUTH_REQUIRED else status_in(message)
        self._verdict.status = status
        self._verdict.end(False, message)
        return [*self._text.whole(), events.error(message, status=status), events.result(False, message)]


def _tokens(data: Mapping[str, Any], meta: Mapping[str, Any]) -> dict[str, float]:
    """Return the tokens of a turn, where the protocol has them or where gemini puts them."""
    numbers = data.get("usage") or {}
    quota = (meta.get("quota") or {}).get("token_count") or {}
    return events.counted(
        inputTokens=numbers.get("inputTokens", quota.get("input_tokens")),
        outputTokens=numbers.get("outputTokens", quota.get("output_tokens")),
        cacheReadTokens=numbers.get("cachedReadTokens"),
    )


def _named(tool: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return a tool's name, kind and title."""
    kind = _KINDS.get(str(tool.get("kind")), "other")
    values = tool.get("rawInput") or tool.get("raw_input") or {}
    path = (tool.get("locations") or [{}])[0].get("path")
    title = values.get("command") if kind == "bash" else path if kind == "edit" else None
    return str(tool.get("kind") or "other"), kind, str(title or tool.get("title") or "")


def _edited(tool: Mapping[str, Any]) -> tuple[int | None, int | None]:
    for part in tool.get("content") or []:
        if part.get("type") == "diff":
            return events.line_counts(str(part.get("oldText") or ""), str(part.get("newText") or ""))
    return None, None


def _exit_code(tool: Mapping[str, Any]) -> int | None:
    output = tool.get("rawOutput")
    metadata = output.get("metadata") if isinstance(output, dict) else None
    code = metadata.get("exit") if isinstance(metadata, dict) else None
    return code if isinstance(code, int) else None


def _output(tool: Mapping[str, Any]) -> str:
    texts = [(part.get("content") or {}).get("text") for part in tool.get("content") or [] if "content" in part]
    return "\n".join(text for text in texts if text)
