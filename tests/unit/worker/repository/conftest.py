"""A repository, and the workspace that a worker makes of it."""

import pytest
from support.repositories import Tree
from support.workspaces import Laid


@pytest.fixture
def source(tmp_path):
    return Tree(tmp_path / "source")


@pytest.fixture
async def laid(tmp_path, source):
    commit = source.commit({"a": "1\n", "dir/b": "2\n", ".gitignore": "*.log\n"})
    return await Laid(tmp_path, source, commit).lay()
