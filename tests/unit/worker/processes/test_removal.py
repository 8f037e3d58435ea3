"""Deleting the directory of an attempt, with anything that an agent made in it."""

import os
import subprocess
import sys

from support.reachable import open_to_others

from worker.processes.removal import RemovalQueue, remove


def test_a_tree_deeper_than_the_stack_is_removed(tmp_path):
    script = "import os\nfor _ in range(5000): os.mkdir('d'); os.chdir('d')"
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    remove(tmp_path / "d")
    assert list(tmp_path.iterdir()) == []


def test_an_ordinary_user_removes_read_only_directories(tmp_path):
    base = tmp_path / "base"
    (base / "closed" / "inner").mkdir(parents=True)
    (base / "closed" / "inner" / "file").touch()
    (base / "closed" / "inner").chmod(0)
    (base / "closed").chmod(0o500)
    code = (
        f"import os, sys\nsys.path[:0] = {sys.path!r}\n"
        "from worker.processes.removal import remove\nfrom pathlib import Path\n"
    )
    if os.getuid() == 0:
        subprocess.run(["chown", "-R", "65534", str(tmp_path)], check=True)
        code += "os.setresuid(65534, 65534, 65534)\n"
        open_to_others(tmp_path)
    subprocess.run([sys.executable, "-c", f"{code}remove(Path({str(base)!r}))"], check=True)
    assert not base.exists()


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    remove(tmp_path / "link")
    assert [path.name for path in tmp_path.rglob("*")] == ["kept", "file"]


def test_a_deletion_that_fails_does_not_end_the_thread(tmp_path):
    removals = RemovalQueue()

    def fail():
        raise OSError("no")

    removals.submit(fail)
    assert removals.wait(60)
