"""Compare every pinned version with the bundled list of advisories, and every image with its recorded digest.

``python deploy/check_pins.py [ROOT]`` prints one line for each problem and exits with 1 when there is one. It asks
nobody: ``advisories.json`` and ``images.json`` beside it are the data, and a person keeps them up to date.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

_IMAGE = re.compile(
    r"^(?:FROM|\s*image:)\s+([a-z][a-z0-9./-]*):(\d[\w.]*)(-[\w-]+)?(?:@(sha256:[0-9a-f]{64}))?", re.MULTILINE
)
_PYTHON = re.compile(r"^([A-Za-z0-9][\w.-]*)==([\w.]+)", re.MULTILINE)
_WHEEL = re.compile(r"\b([a-z][a-z0-9-]*)==(\d[\w.]*)")
_OURS = "ado-"


@dataclass(frozen=True, slots=True)
class Pin:
    """One pinned version and the file that pins it; ``image`` is the tag and ``digest`` its digest, for an image."""

    ecosystem: str
    name: str
    version: str
    file: str
    image: str = ""
    digest: str | None = None


def pins(root: Path) -> Iterator[Pin]:
    """Yield everything that is pinned below ``root``."""
    for file in ("deploy/Dockerfile", "deploy/compose.yaml"):
        for name, version, variant, digest in _IMAGE.findall((root / file).read_text()):
            if not name.startswith(_OURS):
                yield Pin("image", name, version, file, f"{name}:{version}{variant}", digest or None)
    for file, pattern in (("constraints.txt", _PYTHON), ("deploy/requirements.txt", _PYTHON), (".ci/run", _WHEEL)):
        for name, version in pattern.findall((root / file).read_text()):
            yield Pin("pypi", canonicalize_name(name), version, file)
    for path in sorted([*root.glob("deploy/*/package-lock.json"), *root.glob("tests/*/package-lock.json")]):
        for place, package in json.loads(path.read_text())["packages"].items():
            if place:
                name = package.get("name", place.rpartition("node_modules/")[2])
                yield Pin("npm", name, package["version"], str(path.relative_to(root)))


def vulnerable(found: list[Pin], advisories: list[dict[str, Any]]) -> Iterator[str]:
    """Yield a line for each pin that an advisory affects, unless the advisory says why that is accepted."""
    for advisory in (item for item in advisories if "accepted" not in item):
        ranges = [SpecifierSet(part) for part in advisory["affected"]]
        for pin in found:
            same = (pin.ecosystem, pin.name) == (advisory["ecosystem"], advisory["package"])
            if same and any(part.contains(pin.version, prereleases=True) for part in ranges):
                fixed = " or ".join(advisory["fixed"])
                yield f"{pin.file}: {pin.name} {pin.version} has {advisory['id']}: raise it to {fixed}"


def unpinned(found: list[Pin], images: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield a line for each image whose digest is not the recorded one, and for each record without an image."""
    used = [pin for pin in found if pin.ecosystem == "image"]
    for pin in used:
        if pin.image not in images:
            yield f"{pin.file}: {pin.image} is not in deploy/images.json: record its digest there"
        elif pin.digest != images[pin.image]["digest"]:
            yield f"{pin.file}: {pin.image} is pinned to {pin.digest}, recorded is {images[pin.image]['digest']}"
    for image in sorted(images.keys() - {pin.image for pin in used}):
        yield f"deploy/images.json: {image} is used nowhere"


def main(root: Path) -> int:
    """Print what is wrong; return the exit code."""
    found = list(pins(root))
    advisories = json.loads((root / "deploy/advisories.json").read_text())
    images = json.loads((root / "deploy/images.json").read_text())
    problems = [*vulnerable(found, advisories), *unpinned(found, images)]
    for problem in problems:
        print(problem)
    by_version = [image for image in images if images[image]["digest"] is None]
    print(f"{len(problems)} problems in {len(found)} pins, by {len(advisories)} advisories")
    print(f"pinned by version alone: {', '.join(by_version) or 'no image'}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent))
