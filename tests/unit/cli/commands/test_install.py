"""``ado install`` links the checkout's script, says what PATH lacks, and touches nothing else."""

import os
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import pytest

from cli import __main__ as program
from cli import invocation

ROOT = Path(str(resources.files("sql"))).parent
SCRIPT = Path("/src/a checkout/ado")


@pytest.fixture
def ado(monkeypatch, tmp_path, capfd):
    """Run a command as the script ``./ado`` does, with a home of its own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(invocation, "_script", SCRIPT)

    def run(*words):
        code = program._run(list(words))
        said = capfd.readouterr()
        return code, said.out, said.err

    return run


def test_install_links_the_script_and_names_the_missing_line_for_path(ado, tmp_path, monkeypatch):
    link = tmp_path / ".local" / "bin" / "ado"
    code, _, said = ado("install")
    assert (code, link.readlink()) == (0, SCRIPT)
    assert "is not on PATH" in said
    assert 'export PATH="$HOME/.local/bin:$PATH"' in said
    monkeypatch.setenv("PATH", f"/usr/bin:{link.parent}")
    code, _, said = ado("install")
    assert (code, said.count("\n")) == (0, 1), "again, it says that nothing had to be done"
    assert "already" in said
    assert ado("install", "--remove")[0] == 0
    assert not os.path.lexists(link)
    assert ado("install", "--remove")[0] == 0


def file(path):
    path.write_text("mine")


def other_link(path):
    path.symlink_to("/elsewhere/ado")


def identity(path):
    """Reading a link changes its time of access, so the times of a stat are not compared as a whole."""
    status = path.lstat()
    return (status.st_ino, status.st_mode, status.st_mtime_ns, status.st_ctime_ns, status.st_size)


@pytest.mark.parametrize("make", [file, other_link, Path.mkdir])
@pytest.mark.parametrize("words", [["install"], ["install", "--remove"]])
def test_install_replaces_only_its_own_link(ado, tmp_path, make, words):
    link = tmp_path / ".local" / "bin" / "ado"
    link.parent.mkdir(parents=True)
    make(link)
    before = identity(link)
    code, _, said = ado(*words)
    assert code == 2
    assert f"{link} is something else" in said
    assert identity(link) == before


def test_a_place_that_cannot_be_made_is_named(ado, tmp_path):
    (tmp_path / ".local").write_text("")
    code, _, said = ado("install")
    assert code == 125
    assert len(said.splitlines()) == 2


def test_without_the_script_there_is_nothing_to_link(ado, monkeypatch):
    monkeypatch.setattr(invocation, "_script", None)
    code, _, said = ado("install")
    assert code == 2
    assert "only a checkout's ./ado can be linked" in said


def test_the_script_finds_its_checkout_through_links(tmp_path):
    checkout = tmp_path / "a checkout"
    checkout.mkdir()
    for name in ("ado", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, checkout / name)
    (tmp_path / "relative").symlink_to("a checkout/ado")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ado").symlink_to(tmp_path / "relative")
    old = tmp_path / "old"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = subprocess.run(
        ["ado", "status"], env={"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "PYTHON": str(old)}, timeout=60,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert f"making a virtual environment in {checkout}/.venv" in done.stderr
