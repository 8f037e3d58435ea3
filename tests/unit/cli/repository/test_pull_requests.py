"""Opening a pull request. gh and glab are stubs on the PATH, because the real ones need an account of a server."""

import json
import os
import sys
from pathlib import Path

import pytest

from cli.errors import CliError
from cli.repository.pull_requests import PullRequest, body_of, is_installed, open_request, title_of
from cli.repository.remotes import PushRemote

HUB = PushRemote("origin", "github.com", "acme/shop")
LAB = PushRemote("origin", "gitlab.example", "a/b/shop")
STUB = """#!{python}
import json, os, sys
json.dump([sys.argv, sys.stdin.read(), os.getcwd(), os.listdir(), dict(os.environ)], open({log!r}, "w"))
{does}
"""


@pytest.fixture
def stub(tmp_path, monkeypatch):
    """Put a program on the PATH; return what tells how it was called."""
    log = tmp_path / "called"

    def put(name, does):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(STUB.format(python=sys.executable, log=str(log), does=does))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        return lambda: json.loads(log.read_text())

    return put


def request(remote=HUB, title="Fix it", body="It is fixed.\n", **members):
    return PullRequest(remote, "ado/task-7", title, body, **members)


def opened(program="gh", **members):
    return open_request(request(**members), program, "ado pr task-7")


def test_gh_gets_the_texts_outside_of_the_repository_and_without_tokens_of_ado(stub, monkeypatch):
    monkeypatch.setenv("ADO_TOKEN", "secret")
    called = stub("gh", "print('Creating…'); print('https://github.com/acme/shop/pull/5')")
    assert opened(title="--web", base="main", draft=True) == "https://github.com/acme/shop/pull/5"
    argv, stdin, where, listed, environment = called()
    assert argv[1:] == [
        "pr", "create", "--repo", "github.com/acme/shop", "--head", "ado/task-7", "--title", "--web",
        "--body", "It is fixed.\n", "--base", "main", "--draft",
    ]  # fmt: skip
    assert (stdin, listed) == ("", [])
    assert where != str(Path.cwd())
    assert "ADO_TOKEN" not in environment


def test_glab_gets_the_same_as_options(stub):
    called = stub("glab", "print('https://gitlab.example/a/b/shop/-/merge_requests/2')")
    assert opened("glab", remote=LAB, base="dev").endswith("/merge_requests/2")
    assert called()[0][1:] == [
        "mr", "create", "--repo", "https://gitlab.example/a/b/shop", "--head", "a/b/shop",
        "--source-branch", "ado/task-7", "--title", "Fix it", "--description", "It is fixed.\n",
        "--target-branch", "dev", "--yes",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("does", "says", "step"),
    [
        ("sys.exit('To get started, please run:  gh auth login')", "To get started", "sign in with gh auth login"),
        ("sys.exit('a\\n\\nb')", "a / b", "correct that, then repeat: ado pr task-7"),
        ("sys.exit(4)", "exit code 4", "https://github.com/acme/shop/pull/new/ado/task-7"),
        ("sys.exit('see https://github.com/help')", "see https://github.com/help", "the branch is pushed"),
        ("os.kill(os.getpid(), 9)", "exit code -9", "the branch is pushed"),
    ],
)
def test_a_failure_is_told_in_the_words_of_the_program_with_the_next_step(stub, does, says, step):
    stub("gh", does)
    with pytest.raises(CliError) as error:
        opened()
    assert says in error.value.message
    assert step in error.value.next_step


def test_a_pull_request_that_exists_is_the_answer(stub):
    stub("gh", "sys.exit('a pull request for it already exists:\\nhttps://github.com/acme/shop/pull/5')")
    assert opened() == "https://github.com/acme/shop/pull/5"


def test_a_program_that_says_no_address_leaves_that_of_the_branch(stub):
    stub("gh", "")
    assert opened() == "https://github.com/acme/shop/pull/new/ado/task-7"


def test_the_program_is_that_of_the_server(stub, monkeypatch, tmp_path):
    assert [request(remote).program() for remote in (HUB, LAB, PushRemote("o", "git.example", "a/b"))] == [
        "gh",
        "glab",
        None,
    ]
    stub("gh", "")
    assert is_installed("gh")
    monkeypatch.setenv("PATH", "bin")
    monkeypatch.chdir(tmp_path)
    assert not is_installed("gh")


@pytest.mark.parametrize(
    ("prompt", "title"),
    [
        ("\n \n  Fix   the\ttest \nand more", "Fix the test"),
        ("\x1b[31mred\x00\u202e\u200b name\ud800", "[31mred name"),
        ("x" * 200, "x" * 99 + "…"),
        ("\x00\n\u200b", "task-7"),
        ("--web", "--web"),
    ],
)
def test_a_title_is_one_visible_short_line(prompt, title):
    assert title_of(prompt, "task-7") == title


def test_a_body_is_the_summary_and_who_made_it():
    assert body_of("It is\r\n\tfixed.\x1b[0m\n", "Made by x.") == "It is\n\tfixed. [0m\n\nMade by x.\n"
    assert body_of(" \n", "Made by x.") == "Made by x.\n"
    assert len(body_of("é" * 100_000, "Made by x.").encode()) < 61_000


def test_a_summary_gives_no_orders_to_the_server():
    """GitLab obeys lines such as /merge in a description, in the name of who sent it."""
    assert body_of("done\n/merge\n  /assign @x\na/b", "m").splitlines()[:4] == [
        "done",
        "\\/merge",
        "  \\/assign @x",
        "a/b",
    ]
