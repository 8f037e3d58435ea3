"""What a job may read of the machine: programs on PATH with what belongs to them, and nothing around them."""

import os
import sys
from pathlib import Path

import pytest

from worker.sandbox.view import masked, private, readable


@pytest.fixture
def home(tmp_path):
    """A person's HOME with programs of several kinds, and with private files."""
    for name in (".ssh/id_rsa", ".local/share/ado/token", ".local/share/keyrings/login", "notes/diary"):
        write(tmp_path / name)
    return tmp_path


def write(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    return path


def link(path, target):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def shown(home, *directories):
    """Return whether a job with these directories on PATH may read a path."""
    paths = readable(os.pathsep.join(map(str, directories)), (), home)
    return lambda name: any((home / name).is_relative_to(path) for path in paths)


def test_the_system_and_ado_itself_are_shown(tmp_path):
    paths = readable("/usr/bin", (), tmp_path)
    assert {"/usr", "/etc"} <= set(paths)
    for needed in (sys.executable, sys.prefix, Path(sys.base_prefix, "lib"), Path(__file__).parents[4] / "worker"):
        assert any(Path(needed).is_relative_to(path) or Path(path).is_relative_to(needed) for path in paths), needed


def test_only_programs_on_path_are_shown_of_home(home):
    visible = shown(home, home / "bin", home / ".local/bin", home)
    for name in (".ssh/id_rsa", ".local/share/ado/token", ".local/share/keyrings/login", "notes/diary"):
        assert not visible(name), name


def test_links_on_path_are_followed_to_their_program(home):
    write(home / ".local/share/claude/versions/2.1")
    link(home / ".local/share/claude/current", "versions/2.1")
    link(home / ".local/bin/claude", home / ".local/share/claude/current")
    visible = shown(home, home / ".local/bin")
    assert visible(".local/bin/claude")
    assert visible(".local/share/claude/current")
    assert visible(".local/share/claude/versions/2.1")
    assert not visible(".local/share/keyrings/login")


def test_an_npm_package_is_shown_with_its_neighbours(home):
    write(home / ".npm-global/lib/node_modules/@openai/codex/bin/codex.js")
    write(home / ".npm-global/lib/node_modules/needed/index.js")
    link(home / ".npm-global/bin/codex", "../lib/node_modules/@openai/codex/bin/codex.js")
    link(home / "project/node_modules/.bin/gemini", "../gemini/cli.js")
    write(home / "project/node_modules/gemini/cli.js")
    write(home / "project/.env")
    visible = shown(home, home / ".npm-global/bin", home / "project/node_modules/.bin")
    assert visible(".npm-global/lib/node_modules/needed/index.js")
    assert visible("project/node_modules/gemini/cli.js")
    assert not visible("project/.env")


def test_a_python_environment_is_shown_with_its_interpreter(home):
    write(home / ".local/share/uv/python/3.12/bin/python3.12")
    write(home / ".local/share/uv/python/3.12/lib/python3.12/os.py")
    write(home / ".local/share/pipx/venvs/tool/pyvenv.cfg")
    write(home / ".local/share/pipx/venvs/tool/bin/tool")
    link(home / ".local/share/pipx/venvs/tool/bin/python", home / ".local/share/uv/python/3.12/bin/python3.12")
    link(home / ".local/bin/tool", home / ".local/share/pipx/venvs/tool/bin/tool")
    visible = shown(home, home / ".local/bin")
    for name in ("pipx/venvs/tool/pyvenv.cfg", "pipx/venvs/tool/bin/tool", "uv/python/3.12/lib/python3.12/os.py"):
        assert visible(f".local/share/{name}"), name


def test_circular_and_broken_links_are_ignored(home):
    link(home / "bin/a", "b")
    link(home / "bin/b", "a")
    link(home / "bin/c", "/no/such/program")
    assert shown(home, home / "bin")("bin/a")


def test_a_path_that_is_relative_or_empty_shows_nothing(home, monkeypatch):
    monkeypatch.chdir(home)
    assert readable(":.:notes:", (), home) == readable("/usr/bin", (), home)


def test_hidden_paths_are_hidden_behind_links_too(tmp_path):
    secret = write(tmp_path / "shown/etc/token")
    (tmp_path / "other").symlink_to(tmp_path / "shown")
    assert list(masked([str(tmp_path / "shown")], [str(tmp_path / "other/etc/token")])) == [str(secret)]
    assert list(masked([str(tmp_path / "other")], [str(secret)])) == [str(tmp_path / "other/etc/token")]
    assert list(masked([str(tmp_path / "shown")], [str(tmp_path / "shown/none"), "/usr"])) == []


def test_files_that_others_cannot_read_are_private(tmp_path):
    for name, mode in (
        ("open", 0o644),
        ("shadow", 0o640),
        ("keys/key", 0o644),
        ("ssh/host_key", 0o600),
        ("ssh/config", 0o644),
    ):
        write(tmp_path / name).chmod(mode)
    (tmp_path / "keys").chmod(0o750)
    (tmp_path / "ssh").chmod(0o755)
    link(tmp_path / "link", "shadow")
    assert sorted(private(str(tmp_path))) == [f"{tmp_path}/{name}" for name in ("keys", "shadow", "ssh/host_key")]
