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


def hook(path, log):
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {path.name} >> {log}\n")
    path.chmod(0o755)


@pytest.fixture
def there(tree, tmp_path):
    """A bare repository that notes what it runs, as the remote origin."""
    log = tmp_path / "ran"
    made = Tree(tmp_path / "shop.git", init=False)
    tree.git("init", "--quiet", "--bare", str(made.path))
    tree.git("remote", "add", "origin", str(made.path))
    tree.git("config", "remote.origin.receivepack", f"echo receivepack >> {log}; git-receive-pack")
    hook(tree.path / ".git/hooks/pre-push", log)
    for name in ("pre-receive", "update", "post-receive", "post-update", "reference-transaction"):
        hook(made.path / "hooks" / name, log)
    made.git("config", "core.alternateRefsCommand", f"echo alternates >> {log}; true")
    (made.path / "objects/info/alternates").write_text(f"{tree.path}/.git/objects\n")
    made.log = log
    return made


def test_a_push_to_a_directory_runs_nothing_that_either_repository_names(tree, there):
    here = Repository.of_working_directory()
    push(here, choose(here, None), "main")
    assert there.git("rev-parse", "main") == tree.git("rev-parse", "main")
    assert not there.log.exists()


def test_a_trusted_repository_runs_the_hooks_of_the_directory_that_it_is_pushed_to(tree, there, tmp_path, monkeypatch):
    (tmp_path / "config").write_text(f"[ado]\n\ttrustedRepository = {tree.path}\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    here = Repository.of_working_directory()
    push(here, choose(here, None), "main")
    assert "post-receive" in there.log.read_text()
    assert "receivepack" not in there.log.read_text().split()


def test_an_address_that_the_user_replaces_keeps_its_page(tree, there, tmp_path, monkeypatch):
    (tmp_path / "config").write_text(f'[url "{there.path.parent}/"]\n\tinsteadOf = https://github.com/acme/\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    tree.git("remote", "set-url", "origin", "https://github.com/acme/shop.git")
    here = Repository.of_working_directory()
    remote = choose(here, None)
    assert remote.new_request("ado/task-7") == GITHUB
    push(here, remote, "main")
    assert there.git("rev-parse", "main") == tree.git("rev-parse", "main")


@pytest.mark.parametrize("url", ["ext::sh -c id", "http://127.0.0.1:9/a/b", "git://127.0.0.1:9/a/b"])
def test_other_transports_are_refused_with_the_command_to_use_instead(tree, url):
    tree.git("remote", "add", "origin", url)
    here = Repository.of_working_directory()
    with pytest.raises(CliError, match="not allowed") as error:
        push(here, choose(here, None), "main")
    assert "git push origin main" in error.value.next_step


def test_a_branch_that_has_moved_on_there_is_not_overwritten(tree, there):
    here = Repository.of_working_directory()
    push(here, choose(here, None), "main")
    tree.git("commit", "--amend", "--quiet", "-m", "another")
    with pytest.raises(CliError, match="cannot be pushed"):
        push(here, choose(here, None), "main")
