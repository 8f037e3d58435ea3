"""What an installed ado consists of."""

import subprocess
import sys
import zipfile
from importlib import resources
from pathlib import Path

ROOT = Path(str(resources.files("sql"))).parent


def test_the_wheel_holds_every_package_and_the_sql(tmp_path):
    source = tmp_path / "source"
    listing = subprocess.run(
        [
            "git",
            "-c",
            f"safe.directory={ROOT}",
            "-C",
            ROOT,
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ],
        check=True,
        capture_output=True,
    ).stdout
    for name in listing.decode().split("\0"):
        if name and (ROOT / name).is_file() and not name.startswith("tests/"):
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(tmp_path)!r})"
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=source, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert names >= {
        "app/replica/main.py",
        "app/client/__init__.py",
        "app/py.typed",
        "cli/help.txt",
        "db/embedded/server.py",
        "sql/queries/jobs.sql",
        "sql/migrations/0011_baseline.sql",
        "worker/processes/keeper.py",
        "worker/agents/player.py",
    }
    (entry,) = (name for name in names if name.endswith("entry_points.txt"))
    assert b"ado = cli.__main__:main" in zipfile.ZipFile(wheel).read(entry)
