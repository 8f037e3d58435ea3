"""The file of contexts: any content gives contexts or an error message."""

import orjson
import pytest

from cli.errors import CliError
from cli.remote import contexts

ENTRY = {"urls": ["http://127.0.0.1:1"], "token": "t", "agent": None}


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("ADO_HOME", str(tmp_path))
    path = contexts.config_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    return path


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"{}",
        b"null",
        b'{"contexts": []}',
        b'{"contexts": {"a": 1}, "current": "a"}',
        b'{"contexts": {"a": {}}, "current": "a"}',
        b'{"contexts": {"a": {"urls": []}}, "current": "a"}',
        b'{"contexts": {"a": {"urls": [1]}}, "current": "a"}',
        b'{"contexts": {"a": {"urls": ["x"], "token": 5}}, "current": "a"}',
        b'{"contexts": {}, "current": 5}',
    ],
)
def test_an_invalid_file_of_contexts_is_reported_with_its_path(file, content):
    file.write_bytes(content)
    with pytest.raises(CliError, match="cannot be read") as caught:
        contexts.named(None)
    assert str(file) in str(caught.value)


def test_a_context_is_found_by_its_name_and_as_the_current_one(file):
    file.write_bytes(orjson.dumps({"current": "a", "contexts": {"a": ENTRY}}))
    assert contexts.named(None) == contexts.named("a") == contexts.ServerContext(("http://127.0.0.1:1",), "t", None)
    with pytest.raises(CliError, match="there is no context 'b'"):
        contexts.named("b")


def test_without_a_file_there_is_no_context(file):
    file.unlink()
    assert contexts.named(None) is None
