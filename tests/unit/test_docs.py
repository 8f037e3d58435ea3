"""The documentation holds: settings, commands, paths and words stand in it as they are in the code."""

import re
import runpy
import shlex
import subprocess
from importlib import resources
from pathlib import Path

import pytest

from app.core.reasons import JOB_REASONS, REFUSALS
from app.rpc.errors import CODES
from cli.app import build

ROOT = Path(str(resources.files("sql"))).parent
TOPICS = sorted(ROOT.glob("cli/topics/*.txt"))
CONFIGURATION = runpy.run_path(str(ROOT / "deploy" / "configuration.py"))
VARIABLES = {
    *(f"ADO_{name.upper()}" for kind in CONFIGURATION["SETTINGS"].values() for name in CONFIGURATION["meanings"](kind)),
    *re.findall(r"^  (ADO_\w+)  ", "".join(page.read_text() for page in TOPICS), re.MULTILINE),
    *(
        "ADO_CHAOS_TASKS",
        "ADO_SCHEDULE_SECONDS",
        "ADO_CHAOS_SEEDS",
        "ADO_SOAK_MINUTES",
        "ADO_SOAK_RATE",
        "ADO_FAULT_SEEDS",
        "ADO_FUZZ_SECONDS",
        "ADO_FUZZ_SEED",
        "ADO_SITE",
    ),
    *("ADO_PICTURES", "ADO_PUBLIC_URL", "ADO_TEST_IMAGE"),
}
TRACKED = set(
    subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()
)  # fmt: skip
PAGES = sorted(ROOT / name for name in TRACKED if name.endswith(".md") and (ROOT / name).exists())
THERE = TRACKED | {str(folder) for name in TRACKED for folder in Path(name).parents}


def name_of(page):
    return str(page.relative_to(ROOT))


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


def test_the_tables_of_settings_are_made_from_the_source():
    """Run ``.venv/bin/python deploy/configuration.py`` when this fails."""
    text = CONFIGURATION["PAGE"].read_text()
    assert CONFIGURATION["page"](text) == text
    shown = re.findall(r"^<!-- settings: (\w+) -->$", text, re.MULTILINE)
    assert shown == list(CONFIGURATION["SETTINGS"])
    assert CONFIGURATION["TOPIC"].read_text() == CONFIGURATION["topic"]()


@pytest.mark.parametrize("page", [*PAGES, *TOPICS], ids=name_of)
def test_a_page_names_only_existing_settings(page):
    assert set(re.findall(r"\bADO_[A-Z_]*[A-Z]\b", page.read_text())) <= VARIABLES


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_path_that_a_page_names_exists(page):
    text = page.read_text()
    paths = {
        path.rstrip("/.")
        for path in re.findall(r"(?<![\w./-])(?:app|cli|db|deploy|sql|tests|worker)/(?!ado-)[\w./-]*", text)
    }
    assert {path for path in paths if path not in THERE and "overlays/mine" not in path} == set()
    links = {link.partition("#")[0] for link in re.findall(r"\]\((?!https?:)([^)]+)\)", text)}
    assert {link for link in links if not (page.parent / link).exists()} == set()


def test_the_statements_that_the_architecture_names_are_in_their_files():
    text = " ".join((ROOT / "ARCHITECTURE.md").read_text().split())
    named = re.findall(r"`(\w+)` in `(sql/queries/\w+\.sql)`", text)
    named += [(name, path) for path, name in re.findall(r"`(sql/queries/\w+\.sql)`, statement `(\w+)`", text)]
    assert len(named) >= 5
    assert [name for name, path in named if f"-- name: {name} " not in (ROOT / path).read_text()] == []


def test_every_command_of_the_pages_exists():
    pages = [ROOT / name for name in ("README.md", "deploy/JOBS.md", "deploy/ADMINISTRATION.md")]
    blocks = [block for page in pages for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)]
    text = re.sub(r" +# .*", "", "\n".join(blocks)).replace("; ado ", "\nado ")
    commands = re.findall(r"^(?:\./)?ado (?!test)[^'\n>]*(?:'[^']*'[^'\n>]*)*", text, re.MULTILINE)
    assert len(commands) > 20
    app = build()
    for command in commands:
        words = [word for word in shlex.split(command)[1:] if word != "…"]
        app.parse_args(words, print_error=False, exit_on_error=False)


def test_the_code_uses_the_words_of_the_glossary():
    glossary = (ROOT / "ARCHITECTURE.md").read_text().partition("\n## Words\n")[2]
    words = re.findall(r"^\| ([a-z ]+) \|", glossary, re.MULTILINE)[1:]
    assert len(words) > 30
    code = " ".join(
        (ROOT / name).read_text().lower().replace("_", " ")
        for name in TRACKED
        if name.endswith((".py", ".sql")) and not name.startswith("tests/")
    )
    assert {word for word in words if not re.search(rf"\b{word}", code)} == set()


def test_every_refusal_has_a_code_of_the_wire_and_a_next_step():
    for code, hint in REFUSALS.values():
        assert code in CODES
        assert hint


def test_the_reasons_of_the_contract_are_in_the_closed_list():
    wanted = "exit_nonzero timed_out lost agent_error permission_denied no_result start_failed sibling_failed cancelled"
    assert set(wanted.split()) <= JOB_REASONS.keys()
