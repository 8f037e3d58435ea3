"""Agents of the Agent Client Protocol: opencode, and any other by configuration.

One of them runs under a bridge (``acp_bridge``), which speaks the protocol and writes what the agent says as lines of
JSON. The protocol has no exit code and no word for an error but a failed call, so an agent that answers ``end_turn``
after a failure is believed.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from app.core.programs import module
from worker.agents import events
from worker.agents.base import Event, Launch, Needs, Outcome, Run
from worker.agents.programs import find, status_in
from worker.agents.project import instructions, refuse_settings
from worker.agents.verdict import Verdict
from worker.processes.process import ProcessEnd

DEFAULT = ("opencode=opencode acp",)
_KINDS = {"edit": "edit", "delete": "edit", "move": "edit", "execute": "bash", "read": "read", "search": "search",
          "fetch": "fetch"}  # fmt: skip
_ENDED = frozenset({"completed", "failed"})
_SYSTEM_ERROR = "systemError"
_AUTH_REQUIRED, _UNAUTHORIZED = -32000, 401
"""The protocol's code for missing credentials, and the HTTP status that says the same."""
_SESSIONS = (
    ".local/share/opencode/opencode.db*",
    ".claude/projects/*/{session}*",
    ".codex/sessions/**/*{session}*",
    ".gemini/tmp/*/chats/*",
)
_NAMES = (".gemini/tmp/*/.project_root", ".gemini/projects.json")
"""Where the agents and bridges that are known keep their sessions."""
_QUIET = {"OPENCODE_DISABLE_AUTOUPDATE": "1", "OPENCODE_DISABLE_LSP_DOWNLOAD": "1", "OPENCODE_DISABLE_SHARE": "1",
          "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1", "OPENCODE_DISABLE_MODELS_FETCH": "1"}  # fmt: skip
_CAREFUL = {"OPENCODE_PERMISSION": json.dumps({"bash": "ask", "webfetch": "ask", "external_directory": "ask"})}
"""opencode allows itself everything unless it is told to ask."""
_WITHOUT_PROJECT = {"OPENCODE_DISABLE_PROJECT_CONFIG": "1", "OPENCODE_PURE": "1"}
_SETTINGS = {"opencode": (".opencode", "opencode.json", "opencode.jsonc")}
"""opencode 1.18 loads plugins that these name in spite of its switches."""
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
    """Return the agents that NAME=COMMAND entries name."""
    pairs = (entry.partition("=")[::2] for entry in entries)
    return {name.strip(): AcpAgent(shlex.split(command)) for name, command in pairs if command.strip()}


def _instructed(run: Run) -> dict[str, str]:
    """Return the variables that keep opencode from project settings, and still have it read AGENTS.md."""
    try:
        config = json.loads(run.env.get("OPENCODE_CONFIG_CONTENT") or "{}")
        files = [*config.get("instructions", []), *map(str, instructions(run, "AGENTS.md"))]
    except (ValueError, TypeError, AttributeError):  # with comments in it, or no object: opencode's to exit_outcome
        return _WITHOUT_PROJECT
    return {**_WITHOUT_PROJECT, "OPENCODE_CONFIG_CONTENT": json.dumps({**config, "instructions": files})}


class AcpAgent:
    """An agent that is started by a command and speaks the protocol."""

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
        bridge += ["all" if run.isolated else "edits", run.session or "-", "--", find(program), *arguments]
        env = {} if run.local else _QUIET if run.isolated else {**_QUIET, **_CAREFUL}
        if not run.local and not run.trust_project:
            refuse_settings(run, _SETTINGS.get(program, _ANY_SETTINGS), program)
            env = {**env, **_instructed(run)}
        return Launch(bridge, env, json.dumps({"prompt": run.prompt, "anew": run.anew or run.prompt}))

    def reader(self, run: Run) -> AcpReader:
        """Return a reader of the bridge's lines."""
        return AcpReader(run)

    def session_files(self, home: Path, session: str) -> list[Path]:
        """Return the files of a session of the agents that are known; of another one there are none."""
        plain = session if session.replace("-", "").replace("_", "").isalnum() else "-"
        found = [path for pattern in _SESSIONS for path in home.glob(pattern.format(session=plain))]
        names = [path for pattern in _NAMES for path in home.glob(pattern)]
        return sorted({*found, *names}) if found else []


class AcpReader:
    """Reads one run."""

    def __init__(self, run: Run) -> None:
        self.session: str | None = run.session
        self.reported: dict[str, float] = dict(run.reported)
        self._before = run.reported
        self.usage: dict[str, float] | None = None
        self.result: dict[str, Any] | None = None
        self._verdict = Verdict(needs_evidence=True)
        self._cost: dict[str, float] = {}
        self._tools: dict[str, dict[str, Any]] = {}
        self._written = ""
        self._said = ""

    def outcome(self, ended: ProcessEnd) -> Outcome:
        """Judge the run."""
        return self._verdict.outcome(ended)

    def stalled(self, seconds: float) -> Outcome:
        """Judge a run that has said nothing for so long."""
        return self._verdict.stalled(seconds)

    def feed_stderr(self, _line: str) -> list[Event]:
        """Return nothing: stderr is for people."""
        return []

    def feed(self, line: Mapping[str, Any]) -> list[Event]:
        """Return what a line says."""
        hearing = {
            "new_session": self._session,
            "load": self._session,
            "update": self._update,
            "permission": self._permission,
            "prompt_result": self._result,
            "prompt_error": self._error,
        }.get(str(line.get("dir")))
        found = hearing(line.get("data") or {}) if hearing else []
        self._verdict.see(found)
        return found

    def _session(self, data: Mapping[str, Any]) -> list[Event]:
        self.session = data.get("session_id") or self.session
        return [events.session(str(self.session))]

    def _update(self, data: Mapping[str, Any]) -> list[Event]:
        match data.get("sessionUpdate"):
            case "agent_message_chunk":
                text = str((data.get("content") or {}).get("text", ""))
                self._written += text
                return [events.text_delta(text)]
            case "agent_thought_chunk":
                return [events.other((data.get("content") or {}).get("text"))]
            case "tool_call" | "tool_call_update":
                return self._tool(data)
            case "usage_update":
                return self._spent(data)
        return []

    def _spent(self, data: Mapping[str, Any]) -> list[Event]:
        """Note the dollars, which are a sum over the session; they count whether or not the turn comes to its end."""
        cost = data.get("cost") or {}
        if cost.get("currency") == "USD":
            total = events.counted(costUsd=cost.get("amount"))
            self.reported = {**self.reported, **total}
            self._cost = events.beyond(total, self._before)
            self.usage = {**(self.usage or {}), **self._cost}
        return []

    def _tool(self, data: Mapping[str, Any]) -> list[Event]:
        """A tool is told to start once it is known what it does, and to end with its status."""
        tool_id = data["toolCallId"]
        known = self._tools.setdefault(tool_id, {"told": False})
        known.update({key: value for key, value in data.items() if value not in (None, [], {})})
        found: list[Event] = []
        status = known.get("status", "pending")
        name, kind, title = _named(known)
        if not known["told"] and status != "pending":
            known["told"] = True
            found += [*self._text(), events.tool_start(tool_id, name, kind, title)]
        if status in _ENDED:
            del self._tools[tool_id]
            ok = status == "completed"
            if ok:
                self._verdict.allow(name)
            added, removed = _edited(known)
            found.append(
                events.tool_end(
                    tool_id, name, kind, title, ok=ok, exit_code=_exit_code(known), added=added, removed=removed,
                    output=_output(known),
                )
            )  # fmt: skip
        return found

    def _permission(self, data: Mapping[str, Any]) -> list[Event]:
        tool = data.get("tool") or {}
        decision = data.get("decision", "allowed")
        name, _, title = _named(tool)
        if decision == "denied":
            self._verdict.refuse(name, title)
        return [*self._text(), events.permission(name, decision, title)]

    def _text(self) -> list[Event]:
        whole, self._written = self._written, ""
        self._said = whole or self._said
        return [events.text(whole, streamed=True)] if whole else []

    def _result(self, data: Mapping[str, Any]) -> list[Event]:
        written = self._text()
        meta = data.get("_meta") or {}
        broke = _SYSTEM_ERROR in json.dumps(meta)  # codex-acp answers end_turn also when the model call failed
        ok = data.get("stopReason") == "end_turn" and not broke
        said = self._said if ok else "its model call failed" if broke else f"it stopped: {data.get('stopReason')}"
        self._verdict.end(ok, said)
        self.usage = {**_tokens(data, meta), **self._cost}
        self.result = {"text": said}
        return [*written, events.usage(self.usage), events.result(ok, said)]

    def _error(self, data: Mapping[str, Any]) -> list[Event]:
        message = f"{data.get('msg', '')} {data.get('data', '')}".strip()
        status = _UNAUTHORIZED if data.get("code") == _AUTH_REQUIRED else status_in(message)
        self._verdict.status = status
        self._verdict.end(False, message)
        return [*self._text(), events.error(message, status=status), events.result(False, message)]


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
    where = (tool.get("locations") or [{}])[0].get("path")
    title = values.get("command") if kind == "bash" else where if kind == "edit" else None
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
