"""The agent ``gemini-cli``, read by its stream of JSON lines.

Its exit code decides little: after a failure in mid-stream and after SIGTERM it is 0. Only ``result`` with
``status: success`` is success. It reports retries on stderr only.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from worker.agents import events
from worker.agents.base import AgentReader, Launch, Needs, Run, TextBuffer
from worker.agents.programs import find, model_option, status_in
from worker.agents.project import instructions
from worker.agents.verdict import Event

_KINDS = {
    "write_file": "edit", "replace": "edit", "run_shell_command": "bash", "read_file": "read",
    "read_many_files": "read", "list_directory": "read", "glob": "search", "search_file_content": "search",
    "google_web_search": "search", "web_fetch": "fetch",
}  # fmt: skip
_TITLES = ("file_path", "command", "absolute_path", "path", "dir_path", "pattern", "query", "prompt", "description")
_RETRY = re.compile(r"Attempt (\d+) failed\b(?:.*?status (\d{3}))?")
_SETTINGS: dict[str, dict[str, Any]] = {
    "security": {"folderTrust": {"enabled": False}},
    "privacy": {"usageStatisticsEnabled": False},
    "telemetry": {"enabled": False},
    "general": {"enableAutoUpdate": False, "enableAutoUpdateNotification": False, "checkpointing": {"enabled": False}},
    "ide": {"enabled": False},
}
_QUIET = {
    "GEMINI_CLI_NO_RELAUNCH": "true",
    "TERM": "xterm-256color",
    "COLORTERM": "truecolor",
}
_WAIT_FOR_PIPES = (
    "for (const stream of [process.stdout, process.stderr]) stream._handle?.setBlocking?.(true);"
    "const others = process.env.NODE_OPTIONS.replace(/ ?--import=data:\\S*$/, '');"
    "if (others) process.env.NODE_OPTIONS = others; else delete process.env.NODE_OPTIONS;"
)
"""Code that makes each write to a pipe wait. gemini exits before a full pipe has taken its output, so the end of more
than about 100 KiB would be lost. The programs that gemini starts do not run this code."""
_EDITS = ("write_file", "replace")
_ALL = (*_EDITS, "run_shell_command", "web_fetch", "google_web_search", "save_memory", "write_todos")
_TOOLS: dict[str, tuple[str, ...]] = {"all": _ALL, "edits": _EDITS, "none": ()}
_MODES = {"all": "yolo", "edits": "auto_edit", "none": "plan"}
"""Approval modes, and the tools needing permission that they allow. In a directory that is not trusted, gemini accepts
a list of tools, no approval mode."""


class GeminiCli:
    """Google's Gemini CLI."""

    converses = True
    takes_messages = True
    needs = Needs(
        "gemini",
        variables=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        elsewhere=("GOOGLE_APPLICATION_CREDENTIALS",),
        files=(".gemini/oauth_creds.json",),
        passed=("GOOGLE_GEMINI_BASE_URL", "GEMINI_MODEL", "GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_CLOUD_PROJECT",
                "GOOGLE_CLOUD_LOCATION"),
        install="npm install -g @google/gemini-cli",
        sign_in="set GEMINI_API_KEY, or run: gemini, and sign in",
    )  # fmt: skip

    def launch(self, run: Run) -> Launch:
        """Return the command, and write gemini's settings into the job's HOME.

        In a directory that is not trusted, gemini ignores settings, hooks, MCP servers, policies, .env and GEMINI.md.
        The text of GEMINI.md is therefore copied into HOME.
        """
        argv = [find("gemini"), "--output-format", "stream-json"]
        argv += ["--resume", run.session] if run.session else ["--session-id", str(uuid.uuid4())]
        argv += model_option(run, "--model")
        if run.local:
            env = {"GEMINI_CLI_NO_RELAUNCH": "true", **_node_options(run)}
            return Launch([*argv, "--approval-mode", "auto_edit"], env, run.prompt)
        if run.trust_project:
            argv += ["--approval-mode", _MODES[run.approve]]
        if not run.has_begun:  # later a link could stand there, and the worker would write to where it leads
            _write_settings(run)
        trust = {"GEMINI_CLI_TRUST_WORKSPACE": "true" if run.trust_project else "false"}
        return Launch(argv, {**_QUIET, **trust, **_node_options(run)}, run.prompt)

    def reader(self, run: Run) -> GeminiReader:
        """Return a reader of its lines."""
        return GeminiReader(run)

    def session_files(self, home: Path, session: str) -> list[Path]:
        """Return the conversation, and the files that map directories to gemini's names for them.

        Without a conversation the list is empty, because the names alone resume no session.
        """
        chats = sorted(home.glob(f".gemini/tmp/*/chats/*{session[:8]}*"))
        if not chats:
            return []
        roots = sorted(home.glob(".gemini/tmp/*/.project_root"))
        return [*chats, *roots, *(file for file in [home / ".gemini/projects.json"] if file.exists())]


def _write_settings(run: Run) -> None:
    home = run.home / ".gemini"
    home.mkdir(mode=0o700, exist_ok=True)
    settings = {**_SETTINGS, "security": {**_SETTINGS["security"], "auth": {"selectedType": _sign_in(run)}}}
    if not run.trust_project:
        settings["tools"] = {"allowed": _TOOLS[run.approve]}
        settings["advanced"] = {"ignoreLocalEnv": True}
        texts = [file.read_bytes() for file in instructions(run, "GEMINI.md")]
        (home / "GEMINI.md").write_bytes(b"\n\n".join(texts))
    (home / "settings.json").write_text(json.dumps(settings), "utf-8")


def _node_options(run: Run) -> dict[str, str]:
    own = f"--import=data:text/javascript,{quote(_WAIT_FOR_PIPES)}"
    return {"NODE_OPTIONS": f"{run.env.get('NODE_OPTIONS', '')} {own}".lstrip()}


def _sign_in(run: Run) -> str:
    if run.env.get("GEMINI_API_KEY"):
        return "gemini-api-key"
    if run.env.get("GOOGLE_GENAI_USE_VERTEXAI") or run.env.get("GOOGLE_API_KEY"):
        return "vertex-ai"
    return "oauth-personal" if (run.home / ".gemini/oauth_creds.json").exists() else "gemini-api-key"


class GeminiReader(AgentReader):
    """Reads one run."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._handlers = {
            "init": self._session,
            "message": self._message,
            "tool_use": self._tool_use,
            "tool_result": self._tool_result,
            "error": self._error,
            "result": self._result,
        }
        self._tools: dict[str, tuple[str, str, str, Mapping[str, Any]]] = {}
        self._text = TextBuffer()
        self._is_new = run.session is None

    def feed_stderr(self, line: str) -> list[Event]:
        """Return the retry that a line on stderr reports."""
        match = _RETRY.match(line)
        if match is None:
            return []
        status = int(match[2]) if match[2] else status_in(line)
        self._verdict.fail(line.strip()[:500], status)
        return [events.retry(int(match[1]), None, line.strip()[:200], status=status, delay=self._verdict.delay)]

    def _session(self, line: Mapping[str, Any]) -> list[Event]:
        self.session = line["session_id"]
        return [events.session(line["session_id"], line.get("model"))]

    def _message(self, line: Mapping[str, Any]) -> list[Event]:
        if line.get("role") != "assistant":
            return []
        self._text.add(line["content"])
        self._verdict.go_on()
        return [events.text_delta(line["content"])]

    def _error(self, line: Mapping[str, Any]) -> list[Event]:
        message = str(line.get("message"))
        self._verdict.fail(message, status_in(message))
        return [*self._text.whole(), events.error(message, status=status_in(message))]

    def _tool_use(self, line: Mapping[str, Any]) -> list[Event]:
        name, values = line["tool_name"], line.get("parameters") or {}
        title = next((str(values[key]) for key in _TITLES if values.get(key)), "")
        kind = _KINDS.get(name, "other")
        self._tools[line["tool_id"]] = (name, kind, title, values)
        return [*self._text.whole(), events.tool_start(line["tool_id"], name, kind, title)]

    def _tool_result(self, line: Mapping[str, Any]) -> list[Event]:
        name, kind, title, values = self._tools.pop(line["tool_id"], ("", "other", "", {}))
        ok = line.get("status") == "success"
        output = str(line.get("output") or (line.get("error") or {}).get("message") or "")
        if ok:
            self._verdict.allow(name)
        added, removed = events.edit_counts(values) if ok and kind == "edit" else (None, None)
        code = re.search(r"^Exit Code: (\d+)$", output, re.MULTILINE) if kind == "bash" else None
        exit_code = int(code[1]) if code else 0 if ok and kind == "bash" else None
        ended = events.tool_end(
            line["tool_id"], name, kind, title, ok=ok, exit_code=exit_code, added=added, removed=removed, output=output
        )
        return [ended]

    def _result(self, line: Mapping[str, Any]) -> list[Event]:
        ok = line.get("status") == "success"
        written = self._text.whole()
        text = str((line.get("error") or {}).get("message") or (self._text.last if ok else ""))
        if not ok:
            self._verdict.status = status_in(text) or self._verdict.status
            if self._is_new and not self.has_worked:
                self.session = None  # gemini forgets a prompt that failed, and resumes no session without one
        self._verdict.end(ok, text)
        numbers = line.get("stats") or {}
        self.usage = events.counted(
            inputTokens=numbers.get("input_tokens"),
            outputTokens=numbers.get("output_tokens"),
            cacheReadTokens=numbers.get("cached"),
        )
        self.result = {"text": text}
        return [*written, events.usage(self.usage), events.result(ok, text)]
