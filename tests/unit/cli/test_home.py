"""Which directories are believed to hold a user's own state."""

import json
import os
import stat

import pytest
from support.users import give_away

from cli.control_plane import embedded
from cli.errors import CliError
from cli.home import ensure_home, home
from cli.remote import contexts


@pytest.fixture
def directory(tmp_path, monkeypatch):
    monkeypatch.setenv("ADO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_missing_directory_is_made(directory):
    assert home() == directory
    assert not directory.exists()
    assert ensure_home() == directory
    assert not stat.S_IMODE(directory.stat().st_mode) & 0o022


def use_status():
    embedded.find()


def use_contexts():
    contexts.load()


def use_login():
    contexts.save({"current": None, "contexts": {}})


@pytest.mark.parametrize("use", [home, ensure_home, use_status, use_contexts, use_login])
def test_a_directory_of_another_user_is_refused(directory, monkeypatch, use):
    """Its plane.json could send any file that we may read, as a token, to any address."""
    directory.mkdir()
    (directory / "plane.lock").touch()
    (directory / "plane.json").write_text(json.dumps({"urls": ["http://127.0.0.1:9"], "tokenFile": "/etc/shadow"}))
    give_away(directory, monkeypatch)
    with pytest.raises(CliError, match="belongs to another user") as raised:
        use()
    assert "ADO_HOME" in raised.value.next_step
    assert sorted(path.name for path in directory.iterdir()) == ["plane.json", "plane.lock"]


def test_a_link_of_another_user_is_not_followed(directory, tmp_path, monkeypatch):
    (tmp_path / "ours").mkdir()
    directory.symlink_to("ours")
    give_away(directory, monkeypatch)
    with pytest.raises(CliError, match="belongs to another user"):
        ensure_home()


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o707])
def test_a_world_writable_directory_is_refused(directory, mode):
    directory.mkdir()
    directory.chmod(mode)
    with pytest.raises(CliError, match="every user may write into it") as raised:
        ensure_home()
    assert f"chmod go-w {directory}" in raised.value.next_step


def test_a_group_loses_the_right_to_write_into_it(directory):
    directory.mkdir()
    directory.chmod(0o775)
    ensure_home()
    assert stat.S_IMODE(directory.stat().st_mode) == 0o755


def test_a_file_of_contexts_is_private_under_any_umask(directory):
    before = os.umask(0)
    try:
        contexts.save({"current": None, "contexts": {}})
    finally:
        os.umask(before)
    assert [(path.name, stat.S_IMODE(path.stat().st_mode)) for path in directory.iterdir()] == [
        ("contexts.json", 0o600)
    ]
