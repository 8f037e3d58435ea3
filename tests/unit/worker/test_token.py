"""The worker's token and its renewal."""

import os

import pytest
from support.program import write_token

from worker.token import WorkerToken


def test_a_renewed_token_replaces_the_old_one_for_every_caller(tmp_path):
    file = tmp_path / "token"
    write_token(file, "old\n")
    token = WorkerToken(str(file))
    assert token.value == "old"
    assert not token.renew("old")
    file.write_text("new\n")
    assert token.renew("old")
    assert token.renew("old")
    assert token.value == "new"
    assert not token.renew("new")


@pytest.mark.parametrize("becomes", ["gone", "empty", "binary"])
def test_a_file_without_a_token_keeps_the_last_one(tmp_path, becomes):
    file = tmp_path / "token"
    write_token(file, "old")
    token = WorkerToken(str(file))
    if becomes == "gone":
        file.unlink()
    else:
        file.write_bytes(b"" if becomes == "empty" else b"\xff")
    assert not token.renew("old")
    assert token.value == "old"


def test_a_pipe_is_read_once():
    read, write = os.pipe()
    os.write(write, b"old")
    os.close(write)
    token = WorkerToken(f"/dev/fd/{read}")
    assert not token.renew("old")
    os.close(read)


def test_a_renewed_token_that_others_can_read_is_refused_with_one_warning(tmp_path, caplog):
    file = tmp_path / "token"
    write_token(file, "old")
    token = WorkerToken(str(file))
    file.write_text("new")
    file.chmod(0o644)
    assert not token.renew("old")
    assert not token.renew("old")
    assert [record.message for record in caplog.records] == [
        f"{file} is not used: other users may read or write it (mode 0644), and it holds a token"
    ]
    file.chmod(0o600)
    assert token.renew("old")
    assert token.value == "new"
