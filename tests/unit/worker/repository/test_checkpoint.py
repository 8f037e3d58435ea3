"""A checkpoint's file: what goes in, what comes out, and what is refused."""

import io
import json
import tarfile
import tracemalloc

import pytest

from worker.agents.base import CONTINUE
from worker.processes.directories import Place
from worker.repository.checkpoint import Saved, Standing, _pack, _session, unpack

META = {"attempt": 1, "session": "s1", "reported": {"cost": 2}, "changes": {"files": 3, "added": 5, "removed": 7}}


@pytest.fixture
def where(tmp_path):
    for part in ("job", "home"):
        (tmp_path / part).mkdir()
    return Place(tmp_path, 0, True)


def archive(where, session, meta=META):
    path, bundle = where.base / "checkpoint", where.base / "bundle"
    bundle.write_bytes(b"bundle")
    _pack(path, meta, bundle, session)
    return path


def test_session_and_tree_come_back_as_they_were(where):
    path = archive(where, {".agent/s1.jsonl": b"said\n"})
    saved = unpack(path, where, 1000)
    assert (saved.attempt, saved.session, saved.reported) == (1, "s1", {"cost": 2})
    assert saved.tree.read_bytes() == b"bundle"
    assert (where.home / ".agent" / "s1.jsonl").read_bytes() == b"said\n"


def test_at_another_path_the_session_cannot_go_on_and_the_agent_is_told_what_was_done(where):
    saved = unpack(archive(where, {".agent/s1": b"x"}), Place(where.base, 0, False), 1000)
    assert saved.session is None
    assert list(where.home.iterdir()) == []
    told = saved.prompt("fix it", converses=True)
    assert "3 changed files, 5 lines added, 7 removed" in told
    assert told.endswith("\nfix it")


def test_a_session_goes_on_with_a_short_word_and_a_program_with_its_own_script():
    saved = Saved(1, None, "s1", {}, META["changes"])
    assert saved.prompt("fix it", converses=True) == CONTINUE
    assert saved.prompt("script", converses=False) == "script"


@pytest.mark.parametrize("name", ["home/../../evil", "/etc/evil", "elsewhere", "home", "home/a/../../../evil"])
def test_a_path_out_of_home_is_refused(where, name):
    path = where.base / "evil.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for member, data in (("meta.json", json.dumps(META).encode()), (name, b"x")):
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    with pytest.raises(ValueError, match="may not"):
        unpack(path, where, 1000)
    assert not (where.base / "evil").exists()


def test_links_in_a_checkpoint_are_refused(where):
    path = where.base / "evil.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        link = tarfile.TarInfo("home/x")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        tar.addfile(link)
    with pytest.raises(ValueError, match="cannot be read"):
        unpack(path, where, 1000)


def test_a_checkpoint_that_unpacks_to_more_than_it_may_is_refused(where, monkeypatch):
    monkeypatch.setattr("worker.repository.checkpoint._SESSION_BYTES", 1000)
    path = archive(where, {"big": b"\0" * 2_000_000})
    with pytest.raises(ValueError, match="cannot be read"):
        unpack(path, where, 10)


def test_links_and_paths_out_of_home_are_no_part_of_a_session(where):
    (where.base / "secret").write_text("not yours")
    (where.home / "link").symlink_to(where.base / "secret")
    (where.home / "directory").symlink_to(where.base)
    (where.home / "real").write_text("mine")
    files = [where.home / "link", where.home / "real", where.home / "gone", where.home / ".." / "secret"]
    files.append(where.home / "directory" / "secret")
    assert _session(Standing("s", {}, files), where.home) == {"real": b"mine"}


def test_a_session_too_large_is_told(where, monkeypatch):
    monkeypatch.setattr("worker.repository.checkpoint._SESSION_BYTES", 3)
    (where.home / "real").write_text("mine")
    with pytest.raises(ValueError, match="larger than 3 bytes"):
        _session(Standing("s", {}, [where.home / "real"]), where.home)


def written(where, *members, **headers):
    path = where.base / "evil.tar.gz"
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
def test_a_description_that_no_worker_writes_is_refused(where, meta):
    text = meta if isinstance(meta, str) else json.dumps(meta)
    with pytest.raises(ValueError, match=r"checkpoint|Expecting"):
        unpack(written(where, ("meta.json", text.encode())), where, 1000)


def test_a_header_that_announces_any_size_is_not_taken_into_memory(where):
    headers = {"format": tarfile.PAX_FORMAT, "pax_headers": {"comment": "x" * 50_000_000}}
    path = written(where, ("meta.json", json.dumps(META).encode()), **headers)
    assert path.stat().st_size < 1_000_000
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="cannot be read"):
            unpack(path, where, 1 << 30)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_what_is_no_archive_is_refused(where):
    good = archive(where, {"s1": b"x" * 10_000}).read_bytes()
    for data in (b"", b"nonsense", good[:100], good[:50] + b"\xff" * 20 + good[70:]):
        path = where.base / "broken"
        path.write_bytes(data)
        with pytest.raises(ValueError, match="checkpoint"):
            unpack(path, where, 100_000)


def test_a_file_is_not_written_through_a_link(where):
    (where.base / "precious").write_text("precious")
    (where.home / "s1").symlink_to(where.base / "precious")
    with pytest.raises(OSError, match="symbolic link"):
        unpack(archive(where, {"s1": b"evil"}), where, 1000)
    assert (where.base / "precious").read_text() == "precious"
