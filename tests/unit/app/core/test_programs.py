"""Where programs are looked for, and how Python is started."""

import subprocess

import pytest

from app.core.programs import absolute_path, module


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("/usr/bin:/bin", "/usr/bin:/bin"),
        (".:/bin", "/bin"),
        (":/bin", "/bin"),
        ("/bin:", "/bin"),
        ("/bin::/usr/bin", "/bin:/usr/bin"),
        ("node_modules/.bin:../x:/bin:~/bin", "/bin"),
        ("", ""),
    ],
)
def test_relative_entries_of_the_path_are_left_out(path, kept):
    assert absolute_path(path) == kept


def test_a_module_is_loaded_only_from_this_installation(tmp_path, monkeypatch):
    (tmp_path / "cli.py").write_text("raise SystemExit('imported from the working directory')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = subprocess.run(module("cli", "--version"), cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip()
