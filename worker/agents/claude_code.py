"""The agent ``claude-code``, read by its stream of JSON lines.

Its ``result`` line decides. A failure may have ``subtype: success``; then ``is_error`` is set. The cost is a sum over
the session, the tokens are those of a turn. It takes words while it works: between two tools, or as its next turn. The
last turn's ``result`` decides.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worker.agents import events
from worker.agents.base import AgentReader, Launch, Needs, Run
from worker.agents.claude_requests import request_of
from worker.agents.programs import find, model_option
from worker.agents.project import project_directories
from worker.agents.verdict import Event, Verdict

_KINDS = {
    "Write": "edit", "Edit": "edit", "MultiEdit": "edit", "NotebookEdit": "edit", "Bash": "bash", "Read": "read",
    "Grep": "search", "Glob": "search", "WebSearch": "search", "WebFetch": "fetch",
}  # fmt: skip
_TITLES = ("file_path", "notebook_path", "command", "pattern", "query", "url", "description", "prompt")
_MODES = {"ask": "default", "edits": "acceptEdits", "none": "plan"}
_QUIET = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_ERROR_REPORTING": "1",
}
_LEAST_DOLLARS = 0.000001
_TELLING = {"CLAUDE_CODE_RETRY_WATCHDOG": "1", "CLAUDE_CODE_RETRY_WATCHDOG_SCOPE": "capacity"}
"""Makes claude wait for every limit and say for how long. Without it, it fails at once if that is more than a minute,
and does not say how long. The worker stops it at its own limits (``worker.rate_limits``)."""
_INSTRUCTIONS = {"CLAUDE_CODE_ADDITIONAL_DIRECTORIES_CLAUDE_MD": "1"}
"""Makes claude read the CLAUDE.md of ``--add-dir``: without project settings it reads none of the project."""


def _without_project(run: Run) -> list[str]:
    """Return the options that turn off the repository's hooks, MCP servers, helpers and permissions."""
    directories = map(str, project_directories(run))
    return ["--setting-sources", "user", "--strict-mcp-config", "--add-dir", *directories]


def _line(text: str, key: str) -> str:
    """Return a message of the user as a line of stdin; claude repeats its uuid once it has taken the message."""
    message = {"role": "user", "content": text}
    return json.dumps({"type": "user", "message": message, "uuid": key}) + "\n"


class ClaudeCode:
    """Anthropic's Claude Code."""

    converses = True
    takes_messages = True
    needs = Needs(
        "claude",
        variables=("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"),
        elsewhere=("CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX"),
        files=(".claude/.credentials.json",),
        passed=("ANTHROPIC_BASE_URL", "ANTHROPIC_MODEL", "ANTHROPIC_SMALL_FAST_MODEL", "CLAUDE_CODE_MAX_RETRIES"),
        install="npm install -g @anthropic-ai/claude-code",
        sign_in="set ANTHROPIC_API_KEY, or run: claude, and sign in",
    )  # fmt: skip

    def launch(self, run: Run) -> Launch:
        """Return the command.

        It reads its prompt, and words and answers while it works, as lines of JSON. In local mode, and if the job's
        input follows the prompt, its stdin is plain text; then it is refused what it would have to ask for.
        """
        argv = [find("claude"), "-p", "--output-format", "stream-json", "--verbose", "--include-partial-messages"]
        argv += ["--resume", run.session] if run.session else ["--session-id", str(uuid.uuid4())]
        argv += model_option(run, "--model")
        argv += ["--max-budget-usd", f"{max(run.dollars, _LEAST_DOLLARS):.6f}"] if run.dollars is not None else []
        if run.local:
            return Launch([*argv, "--permission-mode", "acceptEdits"], {}, run.prompt)
        argv += [] if run.trust_project else _without_project(run)
        env = {**_QUIET, **_TELLING, **_INSTRUCTIONS}
        if run.approve == "all":  # IS_SANDBOX, because claude refuses the bypass to root elsewhere
            argv, env = [*argv, "--dangerously-skip-permissions"], {**env, "IS_SANDBOX": "1"}
        else:
            argv += ["--permission-mode", _MODES[run.approve]]
        if run.stdin:
            return Launch(argv, env, run.prompt)
        argv += ["--input-format", "stream-json", "--replay-user-messages"]
        argv += ["--permission-prompt-tool", "stdio"] if run.approve in ("ask", "edits") else []
        return Launch(argv, env, _line(run.prompt, str(uuid.uuid4())), _line)

    def reader(self, run: Run) -> ClaudeReader:
        """Return a reader of its lines."""
        return ClaudeReader(run)

    def session_files(self, home: Path, session: str) -> list[Path]:
        """Return the conversation, which claude files under its working directory's name."""
        return sorted(home.glob(f".claude/projects/*/{session}*"))


class ClaudeReader(AgentReader):
    """Reads one run."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._handlers = {
            "system": self._system,
            "stream_event": self._stream,
            "assistant": self._assistant,
            "user": self._user,
            "result": self._result,
            "control_request": self._ask,
            "rate_limit_event": self._note_limit,
        }
        self._tools: dict[str, tuple[str, str, str, Mapping[str, Any]]] = {}
        self._denied: set[Any] = set()
        self._messages: dict[str, dict[str, float]] = {}
        self._ended: dict[str, float] = {}
        self._written = ""
        self._limit_ends = 0.0

    def _system(self, line: Mapping[str, Any]) -> list[Event]:
        match line.get("subtype"):
            case "init":
                self.session = line["session_id"]
                if self._verdict.final is not None:
                    self._verdict = Verdict()  # the next turn begins
                return [events.session(line["session_id"], line.get("model"))]
            case "api_retry":
                return self._retry(line)
            case "permission_denied":
                tool, message = str(line.get("tool_name")), str(line.get("message", ""))
                self._denied.add(line.get("tool_use_id"))
                self._refuse(tool, message)
                return [events.permission(tool, "denied", message)]
        return []

    def _retry(self, line: Mapping[str, Any]) -> list[Event]:
        status, delay, message = line.get("error_status"), line.get("retry_delay_ms"), str(line.get("error"))
        seconds = None if delay is None else delay / 1000
        self._verdict.fail(message, status, seconds)
        self._written = ""
        return [events.retry(line["attempt"], line.get("max_retries"), message, status=status, delay=seconds)]

    def _note_limit(self, line: Mapping[str, Any]) -> list[Event]:
        """Note when a subscription's limit is over; the result that follows has it in words only."""
        info = line["rate_limit_info"]
        self._limit_ends = float(info["resetsAt"]) if info.get("status") == "rejected" else 0.0
        return []

    def _ask(self, line: Mapping[str, Any]) -> list[Event]:
        """Note what it asks. What a person refuses is no failure of the run."""
        request = line["request"]
        values, tool_id = request.get("input") or {}, request.get("tool_use_id")
        self.requests.append(request_of(line, _title(values), lambda: self._denied.add(tool_id)))
        return []

    def _stream(self, line: Mapping[str, Any]) -> list[Event]:
        event = line.get("event") or {}
        delta = event.get("delta") or {}
        if event.get("type") == "content_block_start":
            self._written = ""
        if line.get("parent_tool_use_id") or delta.get("type") != "text_delta":
            # the text of a subagent is not the agent's own
            return [events.other(delta.get("text") or delta.get("partial_json") or delta.get("thinking"))]
        self._written += delta["text"]
        return [events.text_delta(delta["text"])]

    def _assistant(self, line: Mapping[str, Any]) -> list[Event]:
        if line.get("is_api_error_message"):
            status = line.get("api_error_status")
            self._verdict.fail(_plain(line["message"].get("content")), status)
            return [events.error(_plain(line["message"].get("content")), status=status)]
        self._verdict.go_on()
        self._count(line["message"])
        result = []
        for block in line["message"].get("content") or []:
            if block.get("type") == "text" and not line.get("parent_tool_use_id"):
                result.append(events.text(block["text"], streamed=block["text"] == self._written))
                self._written = ""
            elif block.get("type") == "tool_use":
                result.append(self._tool_use(block))
        return result

    def _count(self, message: Mapping[str, Any]) -> None:
        """Count the tokens of each message, because a stopped turn has no result line."""
        if numbers := message.get("usage"):
            self._messages[str(message.get("id"))] = _tokens(numbers)
            self.usage = events.total(self._ended, *self._messages.values())

    def _tool_use(self, block: Mapping[str, Any]) -> Event:
        name, values = block["name"], block.get("input") or {}
        title = _title(values)
        kind = _KINDS.get(name, "other")
        self._tools[block["id"]] = (name, kind, title, values)
        return events.tool_start(block["id"], name, kind, title)

    def _user(self, line: Mapping[str, Any]) -> list[Event]:
        if line.get("isReplay"):
            self.confirmed.append(str(line.get("uuid")))
        content = line["message"].get("content")
        blocks = content if isinstance(content, list) else []
        return [self._tool_result(block, line) for block in blocks if block.get("type") == "tool_result"]

    def _tool_result(self, block: Mapping[str, Any], line: Mapping[str, Any]) -> Event:
        name, kind, title, values = self._tools.pop(block["tool_use_id"], ("", "other", "", {}))
        ok = not block.get("is_error")
        if ok:
            self._verdict.allow(name)
        output = _plain(block.get("content"))
        added, removed = _edited(values, line.get("tool_use_result")) if ok and kind == "edit" else (None, None)
        return events.tool_end(
            block["tool_use_id"], name, kind, title, ok=ok,
            exit_code=_exit_code(output, ok) if kind == "bash" else None,
            added=added, removed=removed, output=output,
        )  # fmt: skip

    def _result(self, line: Mapping[str, Any]) -> list[Event]:
        ok = line.get("subtype") == "success" and not line.get("is_error")
        errors = "; ".join(str(error) for error in line.get("errors") or [])
        text = str(line.get("result") or errors or line.get("terminal_reason") or line.get("subtype"))
        self._verdict.status = line.get("api_error_status") or (None if ok else self._verdict.status)
        self._verdict.end(ok, text)
        if not ok and self._limit_ends:
            self._verdict.delay = max(0.0, self._limit_ends - time.time())
        for denial in line.get("permission_denials") or []:
            if denial.get("tool_use_id") not in self._denied:
                self._refuse(str(denial.get("tool_name")), "")
        self._verdict.is_over_budget = line.get("subtype") == "error_max_budget_usd"
        used = _tokens(line.get("usage") or {})
        if self._verdict.is_over_budget:  # then the line counts none
            used = events.total(*self._messages.values())
        self._ended = events.total(self._ended, used)
        self._messages = {}
        cost = events.counted(costUsd=line.get("total_cost_usd"))
        self.usage = {**self._ended, **self._count_session_usage(cost)}
        self.result = {"text": text}
        return [events.usage(self.usage), events.result(ok, text)]


def _title(values: Mapping[str, Any]) -> str:
    """Return a tool's path, command or aim."""
    return next((str(values[key]) for key in _TITLES if values.get(key)), "")


def _tokens(numbers: Mapping[str, Any]) -> dict[str, float]:
    return events.counted(
        inputTokens=numbers.get("input_tokens"),
        outputTokens=numbers.get("output_tokens"),
        cacheReadTokens=numbers.get("cache_read_input_tokens"),
        cacheWriteTokens=numbers.get("cache_creation_input_tokens"),
    )


def _plain(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(str(block.get("text", "")) for block in content or [] if isinstance(block, dict))


def _exit_code(output: str, ok: bool) -> int | None:
    if ok:
        return 0
    head, _, rest = output.partition("Exit code ")
    number = rest.split("\n", 1)[0].strip()
    return int(number) if not head and number.isdigit() else None


def _edited(values: Mapping[str, Any], outcome: Any) -> tuple[int, int]:
    """Return how many lines an edit adds and removes, from its patch or from its parameters."""
    patch = outcome.get("structuredPatch") if isinstance(outcome, dict) else None
    if patch:
        lines = [line for hunk in patch for line in hunk.get("lines", [])]
        return sum(line.startswith("+") for line in lines), sum(line.startswith("-") for line in lines)
    return events.edit_counts(values)
