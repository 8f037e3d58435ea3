"""A checkpoint's file: what goes in, what comes out, and what is refused."""

import io
import json
import os
import stat
import tarfile
import tracemalloc

import pytest

from worker.agents.base import CONTINUE
from worker.processes.directories import AttemptDirectory
from worker.repository.checkpoint import Checkpoint, SessionState, _pack, _restore, _session, unpack

META = {"attempt": 1, "session": "s1", "reported": {"cost": 2}, "changes": {"files": 3, "added": 5, "removed": 7}}


@pytest.fixture
def attempt_dir(tmp_path):
    for part in ("job", "home"):
        (tmp_path / part).mkdir()
    return AttemptDirectory(tmp_path, 0, True)


def archive(attempt_dir, session, meta=META):
    path, bundle = attempt_dir.base / "checkpoint", attempt_dir.base / "bundle"
    bundle.write_bytes(b"bundle")
    _pack(path, meta, bundle, session)
    return path


def test_session_and_tree_are_restored_unchanged(attempt_dir):
    path = archive(attempt_dir, {".agent/s1.jsonl": b"said\n"})
    saved = unpack(path, attempt_dir, 1000)
    assert (saved.attempt, saved.session, saved.reported) == (1, "s1", {"cost": 2})
    assert saved.tree.read_bytes() == b"bundle"
    assert (attempt_dir.home / ".agent" / "s1.jsonl").read_bytes() == b"said\n"


@pytest.mark.parametrize("is_there", [False, True])
def test_a_restored_file_is_private_before_it_has_content(attempt_dir, is_there):
    """Also a file that was readable to others before."""
    file = attempt_dir.home / ".agent" / "s1.jsonl"
    if is_there:
        file.parent.mkdir()
        file.touch()
        file.chmod(0o644)
    modes = []

    class Content(io.BytesIO):
        def read(self, size=-1):
            modes.append(stat.S_IMODE(file.stat().st_mode))
            return super().read(size)

    umask = os.umask(0)
    try:
        _restore(attempt_dir.home, "home/.agent/s1.jsonl", Content(b"said\n"))
    finally:
        os.umask(umask)
    assert set(modes) == {0o600}
    assert file.read_bytes() == b"said\n"


def test_a_session_from_another_path_is_replaced_by_a_summary(attempt_dir):
    saved = unpack(archive(attempt_dir, {".agent/s1": b"x"}), AttemptDirectory(attempt_dir.base, 0, False), 1000)
    assert saved.session is None
    assert list(attempt_dir.home.iterdir()) == []
    told = saved.prompt("fix it", converses=True)
    assert "3 changed files, 5 lines added, 7 removed" in told
    assert told.endswith("\nfix it")


def test_a_session_resumes_with_a_short_prompt_and_a_script_with_itself():
    saved = Checkpoint(1, None, "s1", {}, META["changes"])
    assert saved.prompt("fix it", converses=True) == CONTINUE
    assert saved.prompt("script", converses=False) == "script"


@pytest.mark.parametrize("name", ["home/../../evil", "/etc/evil", "elsewhere", "home", "home/a/../../../evil"])
def test_a_path_out_of_home_is_refused(attempt_dir, name):
    path = attempt_dir.base / "evil.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for member, data in (("meta.json", json.dumps(META).encode()), (name, b"x")):
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    with pytest.raises(ValueError, match="may not"):
        unpack(path, attempt_dir, 1000)
    assert not (attempt_dir.base / "evil").exists()


def test_links_in_a_checkpoint_are_refused(attempt_dir):
    path = attempt_dir.base / "evil.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        link = tarfile.TarInfo("home/x")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        tar.addfile(link)
    with pytest.raises(ValueError, match="cannot be read"):
        unpack(path, attempt_dir, 1000)


def test_a_checkpoint_that_unpacks_to_more_than_it_may_is_refused(attempt_dir, monkeypatch):
    monkeypatch.setattr("worker.repository.checkpoint._SESSION_BYTES", 1000)
    path = archive(attempt_dir, {"big": b"\0" * 2_000_000})
    with pytest.raises(ValueError, match="cannot be read"):
        unpack(path, attempt_dir, 10)


def test_links_and_paths_out_of_home_are_no_part_of_a_session(attempt_dir):
    (attempt_dir.base / "secret").write_text("not yours")
    (attempt_dir.home / "link").symlink_to(attempt_dir.base / "secret")
    (attempt_dir.home / "directory").symlink_to(attempt_dir.base)
    (attempt_dir.home / "real").write_text("mine")
    files = [
        attempt_dir.home / "link",
        attempt_dir.home / "real",
        attempt_dir.home / "gone",
        attempt_dir.home / ".." / "secret",
    ]
    files.append(attempt_dir.home / "directory" / "secret")
    assert _session(SessionState("s", {}, files), attempt_dir.home) == {"real": b"mine"}


def test_a_session_that_is_too_large_is_reported(attempt_dir, monkeypatch):
    monkeypatch.setattr("worker.repository.checkpoint._SESSION_BYTES", 3)
    (attempt_dir.home / "real").write_text("mine")
    with pytest.raises(ValueError, match="larger than 3 bytes"):
        _session(SessionState("s", {}, [attempt_dir.home / "real"]), attempt_dir.home)


def written(attempt_dir, *members, **headers):
    path = attempt_dir.base / "evil.tar.gz"
    with tarfile.open(path, "w:gz", **headers) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize(
    "meta",
    [
        None, [], {}, {**META, "session": "--dangerously-skip-permissions"}, {**META, "session": "../x"},
        {**META, "session": 5}, {**META, "changes": {}}, {**META, "changes": None}, {**META, "attempt": "1"},
        {**META, "reported": [1]}, {**META, "reported": {"cost": "x"}}, "[" * 100_000,
    ],
)  # fmt: skip
def test_a_description_that_no_worker_writes_is_refused(attempt_dir, meta):
    text = meta if isinstance(meta, str) else json.dumps(meta)
    with pytest.raises(ValueError, match=r"checkpoint|Expecting"):
        unpack(written(attempt_dir, ("meta.json", text.encode())), attempt_dir, 1000)


def test_a_header_with_a_huge_size_takes_no_memory(attempt_dir):
    headers = {"format": tarfile.PAX_FORMAT, "pax_headers": {"comment": "x" * 50_000_000}}
    path = written(attempt_dir, ("meta.json", json.dumps(META).encode()), **headers)
    assert path.stat().st_size < 1_000_000
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="cannot be read"):
            unpack(path, attempt_dir, 1 << 30)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_a_file_that_is_no_archive_is_refused(attempt_dir):
    good = archive(attempt_dir, {"s1": b"x" * 10_000}).read_bytes()
    for data in (b"", b"nonsense", good[:100], good[:50] + b"\xff" * 20 + good[70:]):
        path = attempt_dir.base / "broken"
        path.write_bytes(data)
        with pytest.raises(ValueError, match="checkpoint"):
            unpack(path, attempt_dir, 100_000)


def test_a_file_is_not_written_through_a_link(attempt_dir):
    (attempt_dir.base / "precious").write_text("precious")
    (attempt_dir.home / "s1").symlink_to(attempt_dir.base / "precious")
    with pytest.raises(OSError, match="symbolic link"):
        unpack(archive(attempt_dir, {"s1": b"evil"}), attempt_dir, 1000)
    assert (attempt_dir.base / "precious").read_text() == "precious"
