"""The TypeScript that a replica serves: right calls compile, wrong ones do not, and the README's program runs."""

import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
OPTIONS = ["--strict", "--target", "es2022", "--module", "nodenext", "--types", "node", "--noEmitOnError"]


@pytest.fixture
def project(node, tmp_path):
    """A directory as a user's: the declaration beside their program, the packages installed."""
    shutil.copy(HERE / "package.json", tmp_path)
    (tmp_path / "node_modules").symlink_to(HERE / "node_modules")
    done = subprocess.run([sys.executable, "-m", "cli", "api", "types"], capture_output=True, check=True, timeout=60)
    (tmp_path / "ado.d.ts").write_bytes(done.stdout)
    return tmp_path


def compiled(node, project, *arguments):
    done = subprocess.run(
        [*node, str(HERE / "node_modules/typescript/bin/tsc"), *OPTIONS, *arguments],
        cwd=project, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


def test_right_calls_compile_and_wrong_ones_do_not(node, project):
    shutil.copy(HERE / "types" / "calls.ts", project)
    assert compiled(node, project, "--noEmit", "calls.ts") == (0, "")


def test_a_wrong_call_fails_the_compiler(node, project):
    """Without this, an ``AppRouter`` that is silently ``any`` would pass."""
    text = (HERE / "types" / "calls.ts").read_text().replace("// @ts-expect-error the prompt is required\n", "")
    (project / "calls.ts").write_text(text)
    code, out = compiled(node, project, "--noEmit", "calls.ts")
    assert code != 0
    assert "'prompt' is missing" in out


def test_a_replica_serves_what_the_command_prints(cluster):
    request = urllib.request.Request(
        f"{cluster.urls[0]}/trpc/ado.d.ts", headers={"authorization": f"Bearer {cluster.token}"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        served = answer.read()
    done = subprocess.run([sys.executable, "-m", "cli", "api", "types"], capture_output=True, check=True, timeout=60)
    assert served == done.stdout


def test_the_readmes_program_compiles_and_follows_a_task(node, project, cluster):
    (program,) = re.findall(r"^```ts\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len([line for line in program.splitlines() if line.strip()]) <= 14
    (project / "follow.ts").write_text(program)
    assert compiled(node, project, "follow.ts") == (0, "")
    cluster.add_worker("w1")
    done = subprocess.run(
        [*node, "follow.js"], cwd=project, capture_output=True, text=True, timeout=60, check=False,
        env={**cluster.env, "ADO_URL": cluster.urls[1], "ADO_TOKEN": cluster.token},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "hello from a worker\n"), done.stderr
