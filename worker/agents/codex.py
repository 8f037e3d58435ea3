"""The agent ``codex``, read by its stream of JSON lines.

The worker executes the native program, not the Node script around it, because the script leaves the program running
when it is killed. Tokens are sums over the session. A broken connection to the model gives
``error "Reconnecting n/5"``; only ``turn.completed`` is success.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worker.agents import events
from worker.agents.base import AgentReader, Launch, Needs, Run
from worker.agents.programs import find, model_option, status_in
from worker.agents.verdict import Event

_RETRY = re.compile(r"Reconnecting\.\.\. (\d+)/(\d+)")
_QUIET = ["-c", "analytics.enabled=false", "-c", "check_for_update_on_startup=false",
          "--disable", "plugins", "--disable", "apps"]  # fmt: skip
_PERMISSIONS: dict[str, list[str]] = {
    "all": ["--dangerously-bypass-approvals-and-sandbox"],
    "edits": ["--sandbox", "workspace-write"],
    "none": ["--sandbox", "read-only"],
}
_KINDS = {"command_execution": "bash", "file_change": "edit", "web_search": "search", "mcp_tool_call": "other"}


class Codex:
    """OpenAI's Codex CLI."""

    converses = True
    takes_messages = True
    needs = Needs(
        "codex",
        variables=("CODEX_API_KEY", "OPENAI_API_KEY"),
        files=(".codex/auth.json",),
        passed=("OPENAI_BASE_URL",),
        install="npm install -g @openai/codex",
        sign_in="set OPENAI_API_KEY, or run: codex login",
    )

    def launch(self, run: Run) -> Launch:
        """Return the command; unless it may do everything, codex's own sandbox lets it write only in its directory."""
        program, path = native(Path(find("codex")))
        argv = [program, "exec", "--json", "--skip-git-repo-check", *model_option(run, "--model")]
        env = {"PATH": f"{path}{os.pathsep}{run.env.get('PATH', os.defpath)}"} if path else {}
        argv += _PERMISSIONS[run.approve]
        if not run.local:
            argv += ["--trust"] if run.trust_project else []  # without it codex ignores the settings of a project
            argv += [*_QUIET, *_endpoint(run.env)]
            env["CODEX_HOME"] = str(run.home / ".codex")
            if not run.has_begun:
                (run.home / ".codex").mkdir(mode=0o700, exist_ok=True)
            if key := run.env.get("CODEX_API_KEY") or run.env.get("OPENAI_API_KEY"):
                env["CODEX_API_KEY"] = key
        argv += ["resume", run.session] if run.session else []
        return Launch([*argv, "-"], env, run.prompt)

    def reader(self, run: Run) -> CodexReader:
        """Return a reader of its lines."""
        return CodexReader(run)

    def session_files(self, home: Path, session: str) -> list[Path]:
        """Return the conversation."""
        return sorted(home.glob(f".codex/sessions/**/*{session}*"))


def native(script: Path) -> tuple[str, str]:
    """Return the native program that ``script`` starts, if there is one, and the directory of its tools."""
    real = script.resolve()
    package = real.parent.parent
    for root in (package, *package.parent.glob("codex-*"), *package.glob("node_modules/@openai/codex-*")):
        for program in sorted(root.glob("vendor/*/bin/codex")):
            return str(program), str(program.parent.parent / "codex-path")
    return str(real), ""


def _endpoint(env: Mapping[str, str]) -> list[str]:
    """Return the options for the endpoint that OPENAI_BASE_URL names."""
    if not env.get("OPENAI_BASE_URL"):
        return []
    url = json.dumps(env["OPENAI_BASE_URL"])
    provider = f'{{name="ado",base_url={url},env_key="CODEX_API_KEY",wire_api="responses"}}'
    return ["-c", 'model_provider="ado"', "-c", f"model_providers.ado={provider}"]


class CodexReader(AgentReader):
    """Reads one run."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._handlers = {
            "thread.started": self._session,
            "item.started": self._started,
            "item.completed": self._completed,
            "error": self._error,
            "turn.completed": self._end,
            "turn.failed": self._fail,
        }
        self._text = ""

    def _session(self, line: Mapping[str, Any]) -> list[Event]:
        self.session = line["thread_id"]
        return [events.session(line["thread_id"])]

    def _fail(self, line: Mapping[str, Any]) -> list[Event]:
        message = str((line.get("error") or {}).get("message"))
        self._verdict.status = status_in(message)
        self._verdict.end(False, message)
        return [events.result(False, message)]

    def _error(self, line: Mapping[str, Any]) -> list[Event]:
        message = str(line.get("message"))
        status = status_in(message)
        self._verdict.fail(message, status)
        if match := _RETRY.match(message):
            return [events.retry(int(match[1]), int(match[2]), message, status=status, delay=self._verdict.delay)]
        return [events.error(message, status=status)]

    def _started(self, line: Mapping[str, Any]) -> list[Event]:
        item = line["item"]
        kind = _KINDS.get(item["type"])
        return [events.tool_start(item["id"], _tool(item), kind, _title(item))] if kind else []

    def _completed(self, line: Mapping[str, Any]) -> list[Event]:
        item = line["item"]
        kind = _KINDS.get(item["type"])
        if kind is not None:
            return self._tool_end(item, kind)
        if item["type"] == "agent_message":
            self._text = item["text"]
            self._verdict.go_on()
            return [events.text(item["text"], streamed=False)]
        return [events.error(item.get("message", ""))] if item["type"] == "error" else []

    def _tool_end(self, item: Mapping[str, Any], kind: str) -> list[Event]:
        name, status = _tool(item), item.get("status", "completed")
        if status == "declined":
            self._verdict.refuse(name, "declined")
        elif status == "completed":
            self._verdict.allow(name)
        code = item.get("exit_code")
        ended = events.tool_end(
            item["id"], name, kind, _title(item), ok=status == "completed" and not code, exit_code=code,
            output=item.get("aggregated_output"),
        )  # fmt: skip
        return [events.permission(name, "denied", _title(item)), ended] if status == "declined" else [ended]

    def _end(self, line: Mapping[str, Any]) -> list[Event]:
        numbers = line.get("usage") or {}
        sums = events.counted(
            inputTokens=numbers.get("input_tokens"),
            outputTokens=numbers.get("output_tokens"),
            cacheReadTokens=numbers.get("cached_input_tokens"),
        )
        self.usage = self._count_session_usage(sums)
        self._verdict.end(True, self._text)
        self.result = {"text": self._text}
        return [events.usage(self.usage), events.result(True, self._text)]


def _tool(item: Mapping[str, Any]) -> str:
    return str(item.get("tool") or item["type"])


def _title(item: Mapping[str, Any]) -> str:
    if item["type"] == "file_change":
        return ", ".join(str(change.get("path")) for change in item.get("changes") or [])
    command = str(item.get("command") or item.get("query") or "")
    try:
        words = shlex.split(command)
    except ValueError:
        return command
    return words[2] if len(words) == 3 and words[1] == "-lc" else command  # without the shell around it
