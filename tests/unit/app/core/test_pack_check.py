"""A pack's sizes are checked before git unpacks it."""

import contextlib
import io
import random
import struct
import zlib

import pytest
from support.repositories import Tree

from app.core.git import GitError
from app.core.pack_check import PackLimits, check_bundle, check_pack

LIMITS = PackLimits(blob_bytes=1000, delta_bytes=1000, total_bytes=5000)
BLOB, OFS_DELTA, REF_DELTA, TREE = 3, 6, 7, 2


def varint(value):
    """Return a size as a delta holds it."""
    found = bytearray()
    while True:
        found.append(value & 0x7F | (0x80 if value > 0x7F else 0))
        value >>= 7
        if not value:
            return bytes(found)


def entry(kind, content, *, size=None, base=b""):
    """Return one object of a pack, which may claim another size."""
    size = len(content) if size is None else size
    head, rest = bytearray([kind << 4 | size & 15]), size >> 4
    while rest:
        head[-1] |= 0x80
        head.append(rest & 0x7F)
        rest >>= 7
    return bytes(head) + base + zlib.compress(content, 9)


def pack(*entries, count=None):
    return io.BytesIO(b"PACK" + struct.pack(">II", 2, len(entries) if count is None else count) + b"".join(entries))


def test_objects_within_the_limits_pass():
    delta = varint(10) + varint(900) + b"\x90\x0a"
    check_pack(pack(entry(BLOB, b"x" * 1000), entry(TREE, b""), entry(REF_DELTA, delta, base=b"\0" * 20)), 20, LIMITS)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([entry(BLOB, b"\0" * 1001)], "1001 bytes"),
        ([entry(BLOB, b"\0" * 100_000, size=10)], "another size"),
        ([entry(BLOB, b"\0" * 10, size=900)], "another size"),
        ([entry(BLOB, b"x" * 1000)] * 6, "larger than 5000"),
        ([entry(REF_DELTA, varint(10) + varint(10**9) + b"\x90\x0a", base=b"\0" * 20)], "1000000000 bytes"),
        ([entry(OFS_DELTA, varint(10) + varint(1001) + b"\x90\x0a", base=b"\x80\x01")], "1001 bytes"),
        ([entry(REF_DELTA, b"\x80" * 30, base=b"\0" * 20)], "delta"),
        ([entry(5, b"")], "unknown kind"),
        ([entry(BLOB, b"x")[:-3]], "too early"),
        ([b"\xff" * 30], "cannot be read"),
        ([bytes([BLOB << 4 | 5]) + b"no zlib at all"], "cannot be read"),
    ],
)
def test_a_large_pack_and_a_file_that_is_no_pack_are_refused(entries, said):
    with pytest.raises(GitError, match=said):
        check_pack(pack(*entries), 20, LIMITS)


def test_the_number_of_objects_is_bounded():
    with pytest.raises(GitError, match="objects"):
        check_pack(pack(count=2**32 - 1), 20, LIMITS)


def test_nonsense_is_an_error_without_a_crash():
    rng = random.Random(7)
    good = pack(entry(BLOB, b"x" * 500), entry(OFS_DELTA, varint(500) + varint(500) + b"\x90\x64", base=b"\x20"))
    for _ in range(500):
        data = bytearray(good.getvalue())
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        with contextlib.suppress(GitError):
            check_pack(io.BytesIO(bytes(data[: rng.randrange(len(data) + 1)])), 20, LIMITS)


@pytest.mark.parametrize("kind", ["sha1", "sha256"])
def test_a_pack_of_git_passes(tmp_path, kind):
    tree = Tree(tmp_path / "tree", init=False)
    tree.path.mkdir()
    tree.git("init", "--quiet", f"--object-format={kind}")
    for number in range(20):
        commit = tree.commit({"a": "line\n" * 500 + f"{number}\n", f"dir/{number}": f"{number}\n"})
    bundle = tree.bundle(tmp_path / "x.bundle", commit)
    assert check_bundle(bundle, PackLimits.of_history(10_000)).heads[0][0] == commit
    with pytest.raises(GitError, match="ADO_FILE_BYTES"):
        check_bundle(bundle, PackLimits.of_result(2000))
