"""The script ``./ado``: what it says where it cannot set itself up."""

import os
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

ROOT = Path(str(resources.files("sql"))).parent


@pytest.fixture
def checkout(tmp_path):
    """A checkout without the rest of ado: enough for everything that comes before the installation."""
    made = tmp_path / "a checkout"
    made.mkdir()
    for name in ("ado", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, made / name)
    return made


def run(checkout, *arguments, **env):
    return subprocess.run(
        [checkout / "ado", *arguments], env={"PATH": "/usr/bin:/bin", **env}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def program(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_an_old_python_is_named_with_the_next_step(checkout, tmp_path):
    done = run(checkout, "status", PYTHON=program(tmp_path / "python3", "exit 1"))
    assert done.returncode == 125
    assert done.stderr.splitlines()[-2:] == [
        "ado: Python 3.11 or newer is needed",
        "ado: install it, or name one: PYTHON=/path/to/python3.11 ./ado",
    ]


@pytest.mark.parametrize("venv", ["/dev/null/venv", "/proc/self/nowhere/venv", "/proc/venv"])
def test_a_directory_that_cannot_be_made_is_named_with_the_next_step(checkout, venv):
    done = run(checkout, "status", ADO_VENV=venv)
    assert done.returncode == 125
    assert done.stderr.splitlines()[-2:] == [
        f"ado: {venv} cannot be made",
        "ado: set ADO_VENV to a directory of your own",
    ]


def test_a_python_that_cannot_be_run_is_named_with_the_next_step(checkout):
    source = (ROOT / "ado").read_text()
    stamp = "\n".join(line for line in source.splitlines() if line.startswith(("sum=", "stamp=")))
    script = f'root=$PWD venv=$PWD/.venv\n{stamp}\nmkdir -p "$venv/bin" && touch "$stamp-client"'
    subprocess.run(["/bin/sh", "-c", script], cwd=checkout, check=True)
    venv = checkout / ".venv"
    (venv / "bin/python").symlink_to("/nowhere/python")  # what another user's home, or an upgrade of the system, leaves
    done = run(checkout, "status")
    assert (done.returncode, done.stderr) == (
        125,
        f"ado: {venv}/bin/python cannot be run by this user\n"
        f"ado: set ADO_VENV to a directory of your own, or remove {venv}\n",
    )


def test_the_module_reports_an_old_python_before_other_imports():
    code = "import runpy, sys\nsys.version_info = (3, 9, 1)\nrunpy.run_module('cli', run_name='__main__')\n"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env={"PATH": os.defpath}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 125
    assert done.stderr.splitlines()[0].endswith("3.11 or newer is needed")
    assert len(done.stderr.splitlines()) == 2


@pytest.mark.parametrize(
    ("has_pip", "steps"),
    [
        (True, ["venv --without-pip", "pip --python install pip", "pip install -e", "cli"]),
        (
            False,
            ["venv --without-pip", "pip --python install pip", "venv", "pip install pip", "pip install -e", "cli"],
        ),
    ],
)
def test_the_pinned_pip_installs_ado_whether_python_has_a_pip_or_not(checkout, tmp_path, has_pip, steps):
    log = tmp_path / "log"
    inside = program(tmp_path / "inside", f'echo "$@" NO_COMPILE=$PIP_NO_COMPILE >>{log}')
    python = program(
        tmp_path / "python3",
        f"""echo "$@" NO_COMPILE=$PIP_NO_COMPILE >>{log}
        for last; do :; done
        case "$*" in
        *" venv "*) mkdir -p "$last/bin" && cp {inside} "$last/bin/python" ;;
        *" pip "*) exit {0 if has_pip else 1} ;;
        esac""",
    )
    assert run(checkout, "status", PYTHON=python).returncode == 0
    called = [line for line in log.read_text().splitlines() if " -m " in line]
    seen = [" ".join(word for word in step.split() if word in line) for step, line in zip(steps, called, strict=True)]
    assert seen == steps
    assert all("NO_COMPILE=1" in line for line in called if " pip " in line)
    assert all("constraints.txt" in line for line in called if " install " in line)
