"""Ignored files that are brought along: which ones, from a directory that may be hostile, and into no history."""

import os
import subprocess
from pathlib import Path

import pytest
from support.repositories import Tree

from cli.errors import CliError
from cli.repository import brought
from cli.repository.brought import brought_files
from cli.repository.git import Repository


@pytest.fixture
def tree(tmp_path):
    made = Tree(tmp_path / "project")
    made.commit({".gitignore": "*.local\n.env*\nbuilt/\n*.key\nnested/\n", "src/main": "x\n"})
    made.write({".env": "S=1\n", "a.local": "a\n", "src/b.local": "b\n", "built/deep/c": "c\n", "my.key": "k\n"})
    return made


def bring(tree, *patterns):
    """Return the files that are brought, by their paths, and the id of their commit."""
    repository = Repository(tree.path / ".git", tree.path)
    with brought_files(repository, patterns, 40) as files:
        if files is None:
            return {}, None
        env = {**os.environ, "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(files.objects)}
        command = ["git", "-C", str(tree.path), "ls-tree", "-r", "-z", files.commit]
        listing = subprocess.run(command, env=env, check=True, capture_output=True).stdout
        result = {}
        for entry in filter(None, listing.split(b"\0")):
            about, _, path = entry.partition(b"\t")
            mode, _, blob = about.decode().split()
            content = subprocess.run(
                ["git", "-C", str(tree.path), "cat-file", "blob", blob], env=env, check=True, capture_output=True
            ).stdout
            result[os.fsdecode(path)] = (mode, content)
        return result, files.commit


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("a.local", {"a.local"}),
        ("./a.local", {"a.local"}),
        ("*.local", {"a.local"}),
        ("**/*.local", {"a.local", "src/b.local"}),
        ("built", {"built/deep/c"}),
        ("src", {"src/b.local"}),
        (".env", {".env"}),
        ("src/main", set()),
        (":!a.local", set()),
        ("--help", set()),
    ],
)
def test_a_path_or_a_pattern_brings_the_ignored_files_that_it_names(tree, pattern, paths):
    assert set(bring(tree, pattern)[0]) == paths


@pytest.mark.parametrize("pattern", ["**", ".env*", "*", "?env", "**/.env"])
def test_what_looks_like_a_secret_is_brought_only_if_it_is_named_as_it_is(tree, pattern, capsys):
    files, _ = bring(tree, pattern)
    assert not {".env", "my.key"} & set(files)
    assert "looks like a secret" in capsys.readouterr().err


@pytest.mark.parametrize("pattern", ["", "/", "/etc/passwd", "../x", "a/../../x", "..", "a\0b", "./"])
def test_a_path_outside_the_repository_is_a_usage_error(tree, pattern):
    with pytest.raises(CliError, match="is no path in the repository"):
        bring(tree, pattern)


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "src/../../outside", "/"])
def test_a_link_that_leads_out_of_the_repository_is_refused(tree, target):
    (tree.path.parent / "outside").write_text("hunter2")
    (tree.path / "x.local").symlink_to(target)
    with pytest.raises(CliError, match="leads out of the repository") as caught:
        bring(tree, "x.local")
    assert "hunter2" not in str(caught.value)


def test_a_linked_directory_is_not_entered_and_a_link_inside_is_brought_as_a_link(tree):
    (tree.path.parent / "outside").mkdir()
    (tree.path.parent / "outside/x.local").write_text("hunter2")
    (tree.path / "away.local").symlink_to(tree.path.parent / "outside")
    (tree.path / "here.local").symlink_to("src/main")
    with pytest.raises(CliError, match=r"away\.local"):
        bring(tree, "away.local")
    assert "away.local/x.local" not in bring(tree, "away.local/*")[0]
    assert bring(tree, "here.local")[0] == {"here.local": ("120000", b"src/main")}


def test_names_of_any_bytes_and_modes_travel(tree):
    odd = os.fsdecode(b'\xff"\\\n\t\x01.local')
    (tree.path / odd).write_bytes(b"\0\xff\r\n")
    (tree.path / "run.local").write_text("#!/bin/sh\n")
    (tree.path / "run.local").chmod(0o755)
    files, _ = bring(tree, "*.local")
    assert files[odd] == ("100644", b"\0\xff\r\n")
    assert files["run.local"] == ("100755", b"#!/bin/sh\n")


def test_the_repository_gets_no_object_and_no_ref_of_it(tree):
    before = tree.git("count-objects", "-v"), tree.git("for-each-ref")
    files, commit = bring(tree, ".env")
    assert files[".env"][1] == b"S=1\n"
    assert (tree.git("count-objects", "-v"), tree.git("for-each-ref")) == before
    assert tree.git("cat-file", "-e", commit, check=False) == ""
    assert subprocess.run(
        ["git", "-C", tree.path, "cat-file", "-e", commit], check=False, capture_output=True
    ).returncode


def test_gits_own_directory_and_nested_repositories_stay(tree, capsys):
    Tree(tree.path / "nested").commit({"x": "x"})
    assert bring(tree, ".git/**", "nested")[0] == {}
    assert not [name for name in bring(tree, "**")[0] if ".git/" in name]


def test_too_many_or_too_large_files_are_refused(tree, monkeypatch):
    monkeypatch.setattr(brought, "_FILES", 1)
    with pytest.raises(CliError, match="names 2 files; the limit is 1"):
        bring(tree, "**/*.local")
    monkeypatch.setattr(brought, "_BYTES", 1)
    with pytest.raises(CliError, match="more than 1 bytes"):
        bring(tree, "a.local")


def test_a_pattern_without_a_file_is_said_and_a_pipe_is_not_read(tree, capsys):
    os.mkfifo(tree.path / "pipe.local")
    assert bring(tree, "pipe.local") == ({}, None)
    assert "no ignored file has this name" in capsys.readouterr().err
    assert Path(tree.path / "pipe.local").is_fifo()
