"""Directories and files in places that other users may write into."""

import os
import stat

import pytest
from support.users import give_away

from app.core.private_files import ForeignOwner, ensure_directory, open_log, write_file


def mode(path):
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_directory_is_private_under_any_umask(tmp_path):
    before = os.umask(0)
    try:
        ensure_directory(tmp_path / "new")
    finally:
        os.umask(before)
    assert mode(tmp_path / "new") == 0o700


@pytest.mark.parametrize("found", [0o777, 0o775, 0o722])
def test_others_lose_the_right_to_write_into_a_directory_that_is_there(tmp_path, found):
    tmp_path.chmod(found)
    ensure_directory(tmp_path)
    assert mode(tmp_path) == found & ~0o022


def test_a_directory_of_another_user_is_refused_and_left_alone(tmp_path, monkeypatch):
    squatted = tmp_path / "squatted"
    squatted.mkdir(mode=0o700)
    give_away(squatted, monkeypatch)
    with pytest.raises(ForeignOwner, match="belongs to another user"):
        ensure_directory(squatted)
    assert mode(squatted) == 0o700


def test_another_users_link_to_a_directory_of_ours_is_refused(tmp_path, monkeypatch):
    (tmp_path / "ours").mkdir()
    link = tmp_path / "link"
    link.symlink_to("ours")
    give_away(link, monkeypatch)
    with pytest.raises(ForeignOwner):
        ensure_directory(link)


def test_an_own_link_is_followed(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    ensure_directory(tmp_path / "link")


@pytest.mark.parametrize("name", ["file", "fifo", "dangling", "loop"])
def test_a_file_in_place_of_a_directory_is_refused(tmp_path, name):
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dangling").symlink_to("nothing")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match=rf"(Not a directory|No such file|levels of symbolic links).*{name}"):
        ensure_directory(tmp_path / name)


def test_a_file_is_its_owners_from_the_first_moment_and_replaces_a_link(tmp_path, monkeypatch):
    (tmp_path / "target").write_text("theirs")
    (tmp_path / "file").symlink_to("target")
    modes = []
    fdopen = os.fdopen
    monkeypatch.setattr(os, "fdopen", lambda fd, *rest: modes.append(os.fstat(fd).st_mode & 0o777) or fdopen(fd, *rest))
    before = os.umask(0)
    try:
        write_file(tmp_path / "file", b"ours")
    finally:
        os.umask(before)
    assert modes == [0o600]
    assert ((tmp_path / "file").read_bytes(), mode(tmp_path / "file")) == (b"ours", 0o600)
    assert (tmp_path / "target").read_text() == "theirs"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "target"]


def test_a_file_that_cannot_be_put_in_place_leaves_nothing_behind(tmp_path):
    (tmp_path / "file").mkdir()
    with pytest.raises(IsADirectoryError):
        write_file(tmp_path / "file", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_log_is_not_written_through_a_link(tmp_path):
    (tmp_path / "log").symlink_to("target")
    with pytest.raises(OSError, match="levels of symbolic links"):
        open_log(tmp_path / "log")
    assert not (tmp_path / "target").exists()


def test_a_log_is_its_owners_and_appended_to(tmp_path):
    for data in (b"1", b"2"):
        fd = open_log(tmp_path / "log")
        os.write(fd, data)
        os.close(fd)
    assert ((tmp_path / "log").read_bytes(), mode(tmp_path / "log")) == (b"12", 0o600)
