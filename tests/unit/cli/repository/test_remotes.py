"""Which remote a branch is pushed to, and the page for a pull request there."""

import pytest
from support.repositories import SETTINGS, Tree

from cli.errors import CliError
from cli.repository.git import Repository
from cli.repository.remotes import PushRemote, choose, push

GITHUB = "https://github.com/acme/shop/pull/new/ado/task-7"


@pytest.fixture
def tree(tmp_path, monkeypatch):
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    made = Tree(tmp_path / "tree")
    made.commit({"a": "1\n"})
    monkeypatch.chdir(made.path)
    return made


@pytest.mark.parametrize(
    ("url", "page"),
    [
        ("https://github.com/acme/shop.git", GITHUB),
        ("https://me:secret@github.com/acme/shop", GITHUB),
        ("git@github.com:acme/shop.git", GITHUB),
        ("ssh://git@github.com:22/acme/shop.git/", GITHUB),
        (
            "https://gitlab.example:8443/a/b/shop.git",
            "https://gitlab.example:8443/a/b/shop/-/merge_requests/new?merge_request%5Bsource_branch%5D=ado%2Ftask-7",
        ),
        ("git@bitbucket.org:a/shop", "https://bitbucket.org/a/shop/pull-requests/new?source=ado%2Ftask-7"),
        ("https://git.example/a/shop", "https://git.example/a/shop"),
        ("/srv/shop.git", ""),
        ("https://github.com/only-a-name", ""),
        ("https://github.com/a/b?x=\x1b[31m", GITHUB.replace("acme/shop", "a/b")),
        ("https://github.com/a/b c", ""),
        ("-oProxyCommand=x:a/b", ""),
        ("", ""),
    ],
)
def test_the_page_for_a_pull_request_comes_from_the_address(url, page):
    assert PushRemote.of("origin", url).new_request("ado/task-7") == page


def test_the_remote_of_the_branch_comes_before_origin_and_an_option_before_both(tree):
    for name in ("fork", "origin", "third"):
        tree.git("remote", "add", name, f"https://github.com/{name}/shop")
    here = Repository.of_working_directory()
    assert choose(here, None).name == "origin"
    tree.git("config", "branch.main.remote", "fork")
    assert choose(here, None).path == "fork/shop"
    assert choose(here, "third").name == "third"


def test_without_a_remote_and_with_several_equal_ones_the_next_step_is_named(tree):
    here = Repository.of_working_directory()
    with pytest.raises(CliError, match="no remote to push to"):
        choose(here, None)
    tree.git("remote", "add", "one", "https://github.com/a/b")
    assert choose(here, None).name == "one"
    tree.git("remote", "add", "two", "https://github.com/a/b")
    with pytest.raises(CliError, match="several remotes: one, two"):
        choose(here, None)
    with pytest.raises(CliError, match="there is no remote '--mirror'"):
        choose(here, "--mirror")


def test_a_push_runs_nothing_that_the_repository_names(tree, tmp_path):
    """A path as the address would run the hooks of the repository there, and the program that its own setting names."""
    tree.git("init", "--quiet", "--bare", str(tmp_path / "there"))
    tree.git("remote", "add", "origin", str(tmp_path / "there"))
    tree.git("config", "remote.origin.receivepack", f"touch {tmp_path}/ran; git-receive-pack")
    hook = tree.path / ".git/hooks/pre-push"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    here = Repository.of_working_directory()
    with pytest.raises(CliError, match="transport 'file' not allowed") as error:
        push(here, choose(here, None), "main")
    assert "git push origin main" in error.value.next_step
    assert not (tmp_path / "ran").exists()
