"""The agents that a worker can run: one module for each, and the table of all of them."""

from __future__ import annotations

import os

from worker.agents import acp
from worker.agents.base import Agent
from worker.agents.claude_code import ClaudeCode
from worker.agents.codex import Codex
from worker.agents.gemini_cli import GeminiCli
from worker.agents.scripted import Scripted
from worker.agents.shell import Shell

AGENTS: dict[str, Agent] = {
    "shell": Shell(),
    "scripted": Scripted(),
    "claude-code": ClaudeCode(),
    "codex": Codex(),
    "gemini-cli": GeminiCli(),
    **acp.configured(os.environ.get("ADO_ACP_AGENTS", ",".join(acp.DEFAULT)).split(",")),
}
