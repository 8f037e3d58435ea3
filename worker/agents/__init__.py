"""What a worker can run: one module an agent, and the one table of them."""

from __future__ import annotations

from worker.agents import scripted, shell
from worker.agents.base import Agent

AGENTS: dict[str, Agent] = {"shell": shell.Shell(), "scripted": scripted.Scripted()}
