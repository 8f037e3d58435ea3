"""What an installed ado consists of, and that no folder of a user takes the place of its modules."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib import resources, util
from pathlib import Path

import pytest

ROOT = Path(str(resources.files("sql"))).parent
PACKAGES = ("app", "cli", "db", "sql", "worker")
DECOYS = (*PACKAGES, "ado", "asyncio", "contextlib", "json", "logging", "msgspec", "pathlib", "re", "sitecustomize")
BUILT = ("app/web/dist/index.html", "app/web/dist/assets/main-1a2b.js", "app/web/dist/assets/main-1a2b.js.br")
JOB = ["run", "--agent", "shell", 'echo "$0 ran"']


def run(*command, cwd=None, **env):
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **env}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this checkout, built as pip builds it."""
    base = tmp_path_factory.mktemp("wheel")
    listing = run("git", "-c", f"safe.directory={ROOT}", "-C", ROOT, "ls-files", "-co", "--exclude-standard")
    for name in listing.splitlines():
        if (ROOT / name).is_file() and not name.startswith("tests/"):
            target = base / "source" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)
    for name in BUILT:  # npm builds them; the wheel takes what is there
        (base / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (base / "source" / name).write_text("built")
    (base / "source" / "app/web/node_modules/tool").mkdir(parents=True)
    (base / "source" / "app/web/node_modules/tool/tool.py").write_text("")
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(base)!r})"
    run(sys.executable, "-c", build, cwd=base / "source")
    (made,) = base.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The program ``ado`` of the wheel, in a virtual environment that finds other packages where they are."""
    venv = tmp_path_factory.mktemp("installed") / "venv"
    run(sys.executable, "-I", "-m", "venv", "--without-pip", venv)
    if util.find_spec("pip"):
        pip = [sys.executable, "-I", "-m", "pip", "--disable-pip-version-check", "--python", venv / "bin" / "python"]
    else:
        pip = ["uv", "pip", "--python", venv / "bin" / "python"]
    run(*pip, "install", "--no-deps", "--no-index", wheel)
    site = venv / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    (site / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return venv / "bin" / "ado"


@pytest.fixture
def decoys(tmp_path):
    """A directory of modules whose import leaves a file; return both."""
    directory, imported = tmp_path / "decoys", tmp_path / "imported"
    for name in DECOYS:
        (directory / name).mkdir(parents=True)
        (directory / name / "__init__.py").write_text(f"open({str(imported)!r}, 'a').write({name!r} + ' ')\n")
    return directory, imported


def test_the_wheel_holds_every_package_and_the_sql(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert names >= {
        "app/replica/main.py",
        "app/client/__init__.py",
        "cli/help.txt",
        "cli/topics/agents.txt",
        "db/embedded/server.py",
        "sql/queries/jobs.sql",
        "sql/migrations/0011_baseline.sql",
        "worker/processes/keeper.py",
        "worker/agents/player.py",
        *(f"{package}/py.typed" for package in PACKAGES),
    }


def test_the_wheel_holds_the_built_dashboard_and_nothing_that_built_it(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert sorted(name for name in names if name.startswith("app/web/")) == sorted(BUILT)


def test_the_installed_program_runs_its_own_code(installed, tmp_path):
    out = run(installed, *JOB, cwd=tmp_path, ADO_HOME=str(tmp_path / "home"))
    assert out == "/bin/sh ran\n"
    python = installed.with_name("python")
    places = run(python, "-I", "-c", f"import {', '.join(PACKAGES)}; print(app.__path__[0], worker.__path__[0])")
    assert places.count(str(installed.parents[1])) == 2


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], JOB], ids=["version", "help", "run"])
@pytest.mark.parametrize("where", ["working directory", "PYTHONPATH"])
@pytest.mark.parametrize("program", ["checkout", "wheel"])
def test_a_folder_of_the_user_does_not_replace_a_module(installed, decoys, arguments, where, program, tmp_path):
    directory, imported = decoys
    env = {"ADO_HOME": str(tmp_path / "home"), "ADO_VENV": sys.prefix}
    if where == "PYTHONPATH":
        env["PYTHONPATH"] = str(directory)
    command = installed if program == "wheel" else ROOT / "ado"
    run(command, *arguments, cwd=directory if where == "working directory" else tmp_path, **env)
    assert not imported.exists() or set(imported.read_text().split()) <= {"sitecustomize"}
