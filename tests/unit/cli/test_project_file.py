"""``.ado.toml``: defaults for setup and checks, from a repository that may be hostile."""

import os
from pathlib import Path

import pytest

from cli.errors import CliError
from cli.project_file import NAMES, project_of, read_project
from cli.repository.git import Repository
from cli.run_options import (
    AgentOptions,
    BudgetOptions,
    CheckOptions,
    LimitOptions,
    PodOptions,
    RepositoryOptions,
    TaskOptions,
)

FULL = """
agent = "codex"
model = "m"
approve = "ask"
max-cost = 5
max-tokens = 1000
max-turns = 20
on-budget = "fail"
setup = "npm ci"
check = ["npm test", "npm run lint"]
check-tries = 5
check-timeout = "2m"
timeout = "2h"
retries = 2
start-within = "30m"
priority = 7
require = ["gpu"]
bring = ["config/*.json"]
caches = ["npm"]
cpu = 2
memory = "4G"
gpu = 1.0
image = "web:7"
network = "none"

[labels]
team = "web"
area = "shop"
"""


def write(tmp_path, text):
    (tmp_path / ".ado.toml").write_text(text)
    return tmp_path


def read(tmp_path, text):
    return read_project(write(tmp_path, text))


def test_every_key_is_the_default_of_its_option_and_is_shown(tmp_path, capsys):
    project = read(tmp_path, FULL)
    assert project.fill(AgentOptions()) == AgentOptions(agent=["codex"], model="m", approve="ask")
    assert project.fill(CheckOptions()) == CheckOptions(["npm test", "npm run lint"], 5, "2m", "npm ci")
    budget = BudgetOptions(max_cost=5.0, max_tokens=1000, max_turns=20, on_budget="fail")
    assert project.fill(BudgetOptions()) == budget
    assert project.fill(LimitOptions()) == LimitOptions(timeout="2h")
    assert project.fill(TaskOptions()) == TaskOptions(
        label=["team=web", "area=shop"], retries=2, start_within="30m", priority=7, require=["gpu"]
    )
    assert project.fill(PodOptions()) == PodOptions(cpu=2.0, memory="4G", gpu=1.0, image="web:7", network="none")
    assert project.fill(RepositoryOptions()) == RepositoryOptions(bring=["config/*.json"], caches=["npm"])
    project.show()
    shown = capsys.readouterr().err
    assert [name for name in NAMES if f"{name} " not in shown] == []


def test_the_topic_lists_every_key():
    text = (Path(__file__).parents[3] / "cli/topics/project-file.txt").read_text()
    assert [name for name in NAMES if f"\n  {name} = " not in text and f"\n  [{name}]" not in text] == []


def test_an_option_replaces_what_the_file_says_and_labels_are_joined(tmp_path, capsys):
    project = read(tmp_path, FULL)
    given = CheckOptions(check=["true"], setup="make")
    assert project.fill(given) == CheckOptions(["true"], 5, "2m", "make")
    assert project.fill(TaskOptions(retries=0)).retries == 0
    assert project.fill(TaskOptions(label=["team=ops"])).members()["labels"] == {"team": "ops", "area": "shop"}
    project.show()
    assert "npm ci" not in capsys.readouterr().err


def test_one_check_may_be_a_text(tmp_path):
    assert read(tmp_path, 'check = "make test"').fill(CheckOptions()).check == ["make test"]


@pytest.mark.parametrize(("trusted", "approve", "bring"), [(False, None, ["a"]), (True, "all", [".env", "a"])])
def test_only_a_trusted_repository_has_everything_allowed_and_secrets_brought(tmp_path, trusted, approve, bring):
    repository = Repository(tmp_path / ".git", write(tmp_path, 'approve = "all"\nbring = [".env", "a"]\n'))
    repository.is_trusted = trusted
    project = project_of(repository)
    assert project.fill(AgentOptions()).approve == approve
    assert project.fill(RepositoryOptions()).bring == bring


def test_without_a_file_there_is_no_project(tmp_path):
    assert read_project(tmp_path) is None


@pytest.mark.parametrize("agent", ["shell", "scripted"])
def test_a_repository_cannot_have_prompts_run_as_programs(tmp_path, agent):
    with pytest.raises(CliError, match="cannot be a project's agent"):
        read(tmp_path, f'agent = "{agent}"')


@pytest.mark.parametrize("key", ["trust-project", "secret", "push", "env", "dirty", "url", "approve-all"])
def test_a_repository_cannot_set_what_only_a_person_may(tmp_path, key):
    with pytest.raises(CliError, match=f"no key '{key}'"):
        read(tmp_path, f"{key} = true")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('setpu = "x"', "no key 'setpu'; did you mean setup?"),
        ("check-tries = 'x'", "Expected `int"),
        ("setup = ", "Invalid value"),
        ("#" * 70_000, "more than"),
        ("\0", ""),
        ("labels = [1]", "Expected `object"),
        ("network = 'some'", "Invalid enum value"),
        ("[" * 30_000, ""),
    ],
)
def test_a_wrong_file_is_a_usage_error_that_names_it(tmp_path, text, message):
    with pytest.raises(CliError, match=r"\.ado\.toml") as caught:
        read(tmp_path, text)
    assert message in str(caught.value)


def test_a_link_or_a_pipe_is_not_read(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text('setup = "hunter2"')
    (tmp_path / ".ado.toml").symlink_to(secret)
    with pytest.raises(CliError) as caught:
        read_project(tmp_path)
    assert "hunter2" not in str(caught.value)
    (tmp_path / ".ado.toml").unlink()
    os.mkfifo(tmp_path / ".ado.toml")
    with pytest.raises(CliError, match="is not a file"):
        read_project(tmp_path)
