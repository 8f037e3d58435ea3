"""The documentation holds: settings, commands and procedures stand in it as they are."""

import ast
import re
from importlib import resources
from pathlib import Path

import pytest

from app.core.reasons import JOB_REASONS, REFUSALS
from app.rpc.errors import CODES

ROOT = Path(str(resources.files("sql"))).parent
README = (ROOT / "README.md").read_text()
SETTINGS = [
    ("app/settings.py", "AppSettings"),
    ("app/spawner/settings.py", "SpawnerSettings"),
    ("app/spawner/backends/settings.py", "KubernetesSettings"),
    ("worker/settings.py", "WorkerSettings"),
]


def settings(path, name):
    tree = ast.parse((ROOT / path).read_text())
    node = next(item for item in tree.body if isinstance(item, ast.ClassDef) and item.name == name)
    for item, following in zip(node.body, node.body[1:], strict=False):
        if isinstance(item, ast.AnnAssign):
            yield f"ADO_{item.target.id.upper()}", following.value.value.replace("``", "`")


@pytest.mark.parametrize(("path", "name"), SETTINGS)
def test_every_setting_stands_in_the_readme_with_its_meaning(path, name):
    every = re.findall(r"^\| `(ADO_\w+)` \| [^|]* \| (.*) \|$", README, re.MULTILINE)
    rows = dict(every)
    for variable, meaning in settings(path, name):
        assert variable in rows
        assert (variable, meaning) in every


def test_the_readme_names_no_setting_that_is_not_there():
    known = {variable for path, name in SETTINGS for variable, _ in settings(path, name)}
    others = {
        "ADO_TOKEN",
        "ADO_HOME",
        "ADO_PG_BINDIR",
        "ADO_PG_USER",
        "ADO_VENV",
        "ADO_JOB_INDEX",
        "ADO_EVENTS",
        "ADO_EVENTS_FD",
        "ADO_CHAOS_TASKS",
        "ADO_CHAOS_SEEDS",
        "ADO_FAULT_SEEDS",
        "ADO_FUZZ_SECONDS",
        "ADO_FUZZ_SEED",
    }
    assert set(re.findall(r"ADO_[A-Z_]+", README)) <= known | others


def test_every_refusal_has_a_code_of_the_wire_and_a_next_step():
    for code, hint in REFUSALS.values():
        assert code in CODES
        assert hint


def test_the_reasons_of_the_contract_are_in_the_closed_list():
    wanted = "exit_nonzero timed_out lost agent_error permission_denied no_result start_failed sibling_failed cancelled"
    assert set(wanted.split()) <= JOB_REASONS.keys()
