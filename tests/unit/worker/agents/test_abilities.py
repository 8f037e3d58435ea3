"""The tables of the README and of deploy/AGENTS.md say what the adapters do."""

import re
from pathlib import Path

import pytest

from app.procedures.checks.budgets import OPTIONS, REPORTED
from worker.agents import AGENTS
from worker.agents.base import Run

README = Path(__file__).parents[4] / "README.md"
PAGE = README.with_name("deploy") / "AGENTS.md"
HEAD = "| agent | takes messages | asks a person | goes on after a failed check | resumes its session | budgets |"
LIMITS = "| agent | says how long a limit lasts | waits by itself | other credentials |"
SESSION = "0b9a5a7e-2f0e-4b63-9a57-1e7d4c1f8a10"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run where every agent's program is installed and has saved a session."""
    programs, home = tmp_path / "bin", tmp_path / "home"
    programs.mkdir()
    for agent in filter(None, (agent.needs for agent in AGENTS.values())):
        (programs / agent.program).write_text("#!/bin/sh\n")
        (programs / agent.program).chmod(0o755)
    for place in (".claude/projects/x", ".gemini/tmp/x/chats", ".codex/sessions/x", ".local/share/opencode"):
        (home / place).mkdir(parents=True)
        (home / place / f"{SESSION}.jsonl").touch()
    for place in (f".gemini/tmp/x/chats/session-1-{SESSION[:8]}.json", f".codex/sessions/x/rollout-{SESSION}.jsonl"):
        (home / place).touch()
    (home / ".local/share/opencode/opencode.db").touch()
    monkeypatch.setenv("PATH", str(programs))
    return Run("fix it", tmp_path, home, approve="edits", env={"HOME": str(home)})


def messages(agent, launch):
    if not agent.takes_messages:
        return "no"
    return "while it works" if launch.line else "in its next turn"


def row(name, run):
    """Return an agent's row as its adapter has it."""
    agent = AGENTS[name]
    launch = agent.launch(run)
    can_ask = agent.converses and launch.line is not None
    can_resume = bool(agent.session_files(run.home, SESSION))
    said = ["yes" if can else "no" for can in (can_ask, agent.takes_messages, can_resume)]
    return f"| {name} | {messages(agent, launch)} | {' | '.join(said)} | {budgets(name)} |"


def budgets(name):
    limits = [] if name == "shell" else [*REPORTED.get(name, ()), "turns"]
    return ", ".join(OPTIONS[limit].removeprefix("--max-") for limit in limits) or "no"


def table(page, head):
    """Return the rows below a head."""
    lines = page.read_text().splitlines()
    begin = lines.index(head) + 2
    return lines[begin : lines.index("", begin)]


def test_the_readme_lists_every_agent_with_what_its_adapter_can_do(run):
    assert table(README, HEAD) == [row(name, run) for name in AGENTS]


def test_the_page_names_the_further_credentials_of_every_agent():
    named = {
        row.split(" | ")[0].removeprefix("| "): set(re.findall(r"([A-Z_]+)_2", row)) for row in table(PAGE, LIMITS)
    }
    assert {*AGENTS} <= {name for names in named for name in names.split(", ")}
    for name in ("claude-code", "codex", "gemini-cli"):
        assert named[name] == {*AGENTS[name].needs.variables}
    assert named["opencode"] <= {*AGENTS["opencode"].needs.variables}
