"""Writing files of a result: with real git, and trees that a hostile worker could bring."""

import os

import pytest
from support.repositories import SETTINGS, Tree

from app.core.git import GitError
from cli.errors import CliError
from cli.repository.download import entries, write
from cli.repository.git import Repository


@pytest.fixture
def tree(tmp_path, monkeypatch):
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    made = Tree(tmp_path / "tree")
    monkeypatch.chdir(made.path)
    return made


def downloaded(tree, commit, to):
    repository = Repository.of_working_directory()
    return write(repository, entries(repository, commit, "."), to)


def test_files_programs_and_links_are_written(tree, tmp_path):
    tree.write({"dir/a": "1\n" * 100_000, "empty": "", "run": "#!/bin/sh\n"})
    (tree.path / "run").chmod(0o755)
    (tree.path / "dir/link").symlink_to("../run")
    commit = tree.commit({})
    assert sorted(downloaded(tree, commit, tmp_path / "to")) == ["dir/a", "dir/link", "empty", "run"]
    assert (tmp_path / "to/dir/a").read_text() == "1\n" * 100_000
    assert (tmp_path / "to/dir/link").resolve() == tmp_path / "to/run"
    assert os.access(tmp_path / "to/run", os.X_OK)


@pytest.mark.parametrize(
    "links",
    [
        {"x": "/etc"}, {"x": "../out"}, {"d/x": "../../out"}, {"x": "a/../../out"},
        {"a/b/x": "../..", "y": "a/b/x/../out"}, {"x": "x" * 4097}, {"x": "./.././out"},
    ],
)  # fmt: skip
def test_a_link_that_leads_out_is_refused_before_anything_is_written(tree, tmp_path, links):
    tree.write({"f": "1\n"})
    paths = {name: tree.blob(target) for name, target in links.items()}
    tree.git("add", "f")
    for name, blob in paths.items():
        tree.git("update-index", "--add", "--cacheinfo", f"120000,{blob},{name}")
    tree.git("commit", "--quiet", "-m", "links")
    with pytest.raises(CliError, match="link"):
        downloaded(tree, "HEAD", tmp_path / "to")
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize("name", ["..", ".git", ".GIT", "a/../../b", ""])
def test_an_invalid_path_is_refused(tree, tmp_path, name):
    commit = tree.raw_commit(tree.raw_tree(("100644", name, tree.blob("x"))))
    with pytest.raises((CliError, GitError)):
        downloaded(tree, commit, tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_files_that_are_too_large_together_are_refused(tree, tmp_path, monkeypatch):
    monkeypatch.setenv("ADO_FILE_BYTES", "1000")
    blob = tree.blob("x" * 1000)
    commit = tree.raw_commit(tree.raw_tree(*(("100644", f"f{number}", blob) for number in range(9))))
    with pytest.raises(GitError, match="larger than 8000 bytes"):
        downloaded(tree, commit, tmp_path / "to")
    assert not (tmp_path / "to").exists()
