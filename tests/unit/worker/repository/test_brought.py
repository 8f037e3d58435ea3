"""Files that a task brings, laid out on the worker: from a client that may be hostile, beside a hostile repository."""

import subprocess
from dataclasses import replace

import pytest
from support.repositories import Tree
from support.workspaces import Laid

from app.core.git import GitError


def lay(tmp_path, repository, brought):
    """Return a workspace, not laid out yet, with the files of the commit that ``brought`` makes in the source."""
    source = Tree(tmp_path / "source")
    commit = repository(source)
    laid = Laid(tmp_path, source, commit)
    added = brought(source)
    bundle = tmp_path / "base.bundle"
    with bundle.open("wb") as file:
        file.write(f"# v2 git bundle\n{commit} refs/heads/x\n{added} refs/heads/y\n\n".encode())
        file.flush()
        words = ["git", "pack-objects", "--revs", "--stdout", "-q"]
        subprocess.run(words, cwd=source.path, input=f"{commit}\n{added}\n".encode(), stdout=file, check=True)
    laid.workspace._base = replace(laid.workspace._base, brought=added)
    return laid


def plain(source):
    return source.commit({"a": "1\n", ".gitattributes": "* text eol=crlf ident\n", "dir/b": "2\n"})


def files(**entries):
    def make(source):
        listed = [("100644", name, source.blob(text)) for name, text in sorted(entries.items())]
        return source.raw_commit(source.raw_tree(*listed))

    return make


async def test_files_are_written_as_they_are_for_their_user_alone_and_are_no_part_of_the_result(tmp_path):
    laid = lay(tmp_path, plain, files(**{".env": "S=1\n$Id$\n", "my [x]*": "y\n", "#z\n": "z\n"}))
    await laid.lay()
    assert (laid.tree / ".env").read_bytes() == b"S=1\n$Id$\n"
    assert (laid.tree / ".env").stat().st_mode & 0o777 == 0o600
    assert laid.agent.git("status", "--short") == '?? "#z\\n"\n'
    (laid.tree / ".env").write_text("S=2\n")
    (laid.tree / "new").write_text("new\n")
    snapshot, result = await laid.result()
    assert set(result) == {"a", ".gitattributes", "dir/b", "new"}
    assert not snapshot.left_out


@pytest.mark.parametrize("name", ["a", "dir"])
async def test_no_brought_file_replaces_one_of_the_repository(tmp_path, name):
    laid = lay(tmp_path, plain, files(**{name: "mine\n"}))
    with pytest.raises(GitError, match="in the repository as well"):
        await laid.lay()
    assert (laid.tree / "a").read_bytes() == b"1\r\n"


async def test_no_brought_file_is_written_through_a_link_of_the_repository(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()

    def linked(source):
        (source.path / "link").symlink_to(outside)
        return source.commit({"a": "1\n"})

    def below(source):
        inner = source.raw_tree(("100644", "x", source.blob("evil\n")))
        return source.raw_commit(source.raw_tree(("40000", "link", inner)))

    laid = lay(tmp_path, linked, below)
    with pytest.raises(GitError):
        await laid.lay()
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("name", [".git", ".GIT", "..", "git~1"])
async def test_a_brought_file_cannot_be_in_the_repositorys_own_directory(tmp_path, name):
    def evil(source):
        inner = source.raw_tree(("100755", "post-checkout", source.blob("#!/bin/sh\n")))
        return source.raw_commit(source.raw_tree(("40000", name, inner)))

    laid = lay(tmp_path, plain, evil)
    with pytest.raises(GitError):
        await laid.lay()


async def test_a_commit_that_was_not_sent_is_an_error(tmp_path):
    laid = lay(tmp_path, plain, files(x="x"))
    laid.workspace._base = replace(laid.workspace._base, brought="a" * 40)
    with pytest.raises(GitError):
        await laid.lay()
