"""Files that hold tokens: who else may read them, and how they are made."""

import os
import stat

import pytest

from app.core.token_file import NewTokenFile, TokenFileExposed, read_token


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_of_its_owner_alone_is_read(tmp_path, mode):
    file = tmp_path / "token"
    file.write_text(" ado_x\n")
    file.chmod(mode)
    assert read_token(file) == "ado_x"


@pytest.mark.parametrize("mode", [0o640, 0o644, 0o604, 0o660, 0o666, 0o620, 0o602, 0o610, 0o601, 0o440, 0o777])
def test_a_file_that_others_may_use_is_refused_with_the_command_that_helps(tmp_path, mode):
    file = tmp_path / "a token"
    file.write_text("ado_x")
    file.chmod(mode)
    with pytest.raises(TokenFileExposed) as refused:
        read_token(file)
    assert f"(mode {mode:04o})" in str(refused.value)
    assert refused.value.next_step == f"chmod 600 '{file}'"


def test_a_link_does_not_hide_the_mode_of_its_target(tmp_path):
    (tmp_path / "target").write_text("ado_x")
    (tmp_path / "target").chmod(0o644)
    (tmp_path / "link").symlink_to("target")
    with pytest.raises(TokenFileExposed):
        read_token(tmp_path / "link")


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe"])
def test_a_file_without_a_token_is_reported(tmp_path, content):
    file = tmp_path / "token"
    file.touch(0o600)
    file.write_bytes(content)
    with pytest.raises(OSError, match=r"it is empty|it holds no token"):
        read_token(file)


def test_a_file_without_an_end_is_read_no_further_than_a_token(tmp_path):
    file = tmp_path / "token"
    file.touch(0o600)
    with file.open("r+b") as open_file:
        open_file.truncate(1 << 40)
    assert len(read_token(file)) <= 64 * 1024


def test_a_pipe_is_read(tmp_path):
    read, write = os.pipe()
    os.write(write, b"ado_x\n")
    os.close(write)
    try:
        assert read_token(f"/dev/fd/{read}") == "ado_x"
    finally:
        os.close(read)


@pytest.mark.parametrize("umask", [0, 0o022, 0o777])
def test_a_new_file_is_private_under_any_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        file = NewTokenFile(tmp_path / "token")
    finally:
        os.umask(before)
    file.write("ado_x")
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    assert read_token(tmp_path / "token") == "ado_x"


@pytest.mark.parametrize("there", ["file", "link", "dangling link", "directory"])
def test_an_existing_file_is_not_overwritten(tmp_path, there):
    path, target = tmp_path / "token", tmp_path / "target"
    if there == "directory":
        path.mkdir()
    elif there == "file":
        path.write_text("mine")
    else:
        path.symlink_to(target)
        if there == "link":
            target.write_text("mine")
    with pytest.raises(FileExistsError):
        NewTokenFile(path)
    if there != "directory":
        assert not target.exists() or target.read_text() == "mine"


def test_a_file_for_a_token_that_was_not_made_is_removed(tmp_path):
    NewTokenFile(tmp_path / "token").remove()
    assert list(tmp_path.iterdir()) == []
