"""How each agent is started with regard to a repository's own settings."""

import json
from pathlib import Path

import pytest

from app.core.approvals import APPROVALS
from worker.agents.acp import AcpAgent
from worker.agents.base import Run
from worker.agents.claude_code import ClaudeCode
from worker.agents.codex import Codex
from worker.agents.gemini_cli import GeminiCli
from worker.agents.project import instructions, project_directories


@pytest.fixture
def place(tmp_path, monkeypatch):
    for program in ("claude", "gemini", "codex", "opencode", "other"):
        file = tmp_path / "bin" / program
        file.parent.mkdir(exist_ok=True)
        file.write_text("#!/bin/sh\n")
        file.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    for part in ("home", "repo/.git", "repo/src/deep"):
        (tmp_path / part).mkdir(parents=True)
    return tmp_path


def run_in(place, *, where="repo", **values):
    return Run("x", place / where, place / "home", **values)


def test_directories_go_from_the_repositorys_top_to_where_the_agent_starts(place):
    found = project_directories(run_in(place, where="repo/src/deep"))
    assert found == [place / "repo", place / "repo/src", place / "repo/src/deep"]
    assert project_directories(run_in(place, where="home")) == [place / "home"]


def test_instructions_are_plain_files_of_a_bounded_size(place):
    (place / "repo/AGENTS.md").write_text("top")
    (place / "repo/src/AGENTS.md").symlink_to("/etc/passwd")
    (place / "repo/src/deep/AGENTS.md").write_text("x" * 300_000)
    assert instructions(run_in(place, where="repo/src/deep"), "AGENTS.md") == [place / "repo/AGENTS.md"]


@pytest.mark.parametrize("approve", APPROVALS)
def test_claude_reads_only_the_settings_of_the_user(place, approve):
    launch = ClaudeCode().launch(run_in(place, where="repo/src", approve=approve))
    words = " ".join(launch.argv)
    assert "--setting-sources user --strict-mcp-config --add-dir" in words
    assert f"--add-dir {place / 'repo'} {place / 'repo/src'} --" in words
    trusting = ClaudeCode().launch(run_in(place, approve=approve, trust_project=True))
    assert "--setting-sources" not in trusting.argv
    local = ClaudeCode().launch(run_in(place, local=True))
    assert "--setting-sources" not in local.argv


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        (ClaudeCode(), "--permission-mode acceptEdits"),
        (Codex(), "--sandbox workspace-write"),
        (GeminiCli(), "--approval-mode auto_edit"),
    ],
)
def test_an_agent_of_a_local_run_may_edit_files(place, agent, words):
    assert words in " ".join(agent.launch(run_in(place, local=True)).argv)


@pytest.mark.parametrize(("approve", "shell"), [("edits", False), ("all", True), ("none", False)])
def test_gemini_does_not_trust_the_directory_and_has_its_instructions_in_home(place, approve, shell):
    (place / "repo/GEMINI.md").write_text("be kind")
    launch = GeminiCli().launch(run_in(place, approve=approve))
    settings = json.loads((place / "home/.gemini/settings.json").read_text())
    assert launch.env["GEMINI_CLI_TRUST_WORKSPACE"] == "false"
    assert "--approval-mode" not in launch.argv
    assert ("run_shell_command" in settings["tools"]["allowed"]) == shell
    assert settings["advanced"]["ignoreLocalEnv"]
    assert (place / "home/.gemini/GEMINI.md").read_text() == "be kind"
    trusting = GeminiCli().launch(run_in(place, approve=approve, trust_project=True))
    assert trusting.env["GEMINI_CLI_TRUST_WORKSPACE"] == "true"
    assert "tools" not in json.loads((place / "home/.gemini/settings.json").read_text())


def test_codex_trusts_a_project_only_with_the_option(place):
    assert "--trust" not in Codex().launch(run_in(place)).argv
    assert "--trust" in Codex().launch(run_in(place, trust_project=True)).argv


@pytest.mark.parametrize("name", [".opencode/plugin/x.js", "opencode.json", "src/opencode.jsonc"])
def test_an_agent_without_an_option_to_ignore_settings_is_not_started(place, name):
    file = place / "repo" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("{}")
    for command in (["opencode", "acp"], ["other"]):
        with pytest.raises(OSError, match="trust-project"):
            AcpAgent(command).launch(run_in(place, where="repo/src"))
        AcpAgent(command).launch(run_in(place, where="repo/src", trust_project=True))
        AcpAgent(command).launch(run_in(place, where="repo/src", local=True))


@pytest.mark.parametrize("name", [".claude/settings.json", ".mcp.json", ".gemini", ".codex"])
def test_an_unknown_agent_is_not_started_beside_settings_of_agents(place, name):
    file = place / "repo" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("{}")
    with pytest.raises(OSError, match="trust-project"):
        AcpAgent(["other"]).launch(run_in(place))
    AcpAgent(["opencode", "acp"]).launch(run_in(place))


@pytest.mark.parametrize("given", ["", '{"model": "m", "instructions": ["own.md"]}', "// not JSON"])
def test_opencode_reads_the_instructions_though_it_ignores_the_project(place, given):
    (place / "repo/AGENTS.md").write_text("be kind")
    launch = AcpAgent(["opencode", "acp"]).launch(run_in(place, env={"OPENCODE_CONFIG_CONTENT": given}))
    assert launch.env["OPENCODE_DISABLE_PROJECT_CONFIG"] == launch.env["OPENCODE_PURE"] == "1"
    if given.startswith("//"):
        assert "OPENCODE_CONFIG_CONTENT" not in launch.env
        return
    config = json.loads(launch.env["OPENCODE_CONFIG_CONTENT"])
    assert config["instructions"] == [*(["own.md"] if given else []), str(place / "repo/AGENTS.md")]
    assert config.get("model") == ("m" if given else None)
    assert Path(config["instructions"][-1]).is_absolute()
