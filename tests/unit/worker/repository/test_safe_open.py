"""A path that a job controls leads nowhere but below its own directory."""

import os
from pathlib import Path

import pytest

from worker.repository.safe_open import open_beneath


@pytest.fixture
def top(tmp_path):
    for directory in ("home/real", "outside"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "home/real/file").write_text("own")
    (tmp_path / "outside/file").write_text("secret")
    return tmp_path / "home"


def descriptors():
    return {entry.name for entry in Path("/dev/fd").iterdir()}


def test_a_regular_file_is_opened(top):
    with os.fdopen(open_beneath(top, (top / "real/file").relative_to(top))) as file:
        assert file.read() == "own"


@pytest.mark.parametrize("place", ["link", "deep/link", "file"])
def test_a_link_in_any_part_of_the_path_is_refused(top, place):
    link = top / place
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(top.parent / ("outside/file" if place == "file" else "outside"))
    before = descriptors()
    with pytest.raises(OSError, match=r"symbolic|directory"):
        open_beneath(top, (link if place == "file" else link / "file").relative_to(top))
    assert descriptors() == before
