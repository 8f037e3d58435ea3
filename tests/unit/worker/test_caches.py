"""Caches between jobs: one job has a copy at a time, hostile copies are thrown away, and all together are bounded."""

import os
import threading
from pathlib import Path

import pytest

from worker import caches as module
from worker.allocation import allocate
from worker.caches import CacheDirectory
from worker.processes.directories import sweep
from worker.processes.removal import RemovalQueue
from worker.settings import WorkerSettings

MINE, OTHERS = "a" * 32, "b" * 32


@pytest.fixture
def caches(tmp_path):
    return CacheDirectory(tmp_path / "caches", 10_000_000)


@pytest.fixture
def home(tmp_path):
    """Makes the HOME of a job."""

    def make(name):
        (tmp_path / name).mkdir()
        return tmp_path / name

    return make


def names(directory):
    return sorted(entry.name for entry in Path(directory).iterdir())


def stored(caches):
    return names(caches.path)


def test_what_a_job_leaves_in_its_cache_the_next_one_finds(caches, home):
    one = home("one")
    env = caches.move_in(MINE, ["npm", "uv"], one)
    assert env == {
        "NPM_CONFIG_CACHE": str(one / ".caches/npm"),
        "UV_CACHE_DIR": str(one / ".caches/uv"),
        "UV_LINK_MODE": "copy",
    }
    Path(env["NPM_CONFIG_CACHE"], "package").write_text("content")
    caches.move_back(MINE, one)
    env = caches.move_in(MINE, ["npm"], home("two"))
    assert Path(env["NPM_CONFIG_CACHE"], "package").read_text() == "content"


def test_no_other_scope_and_no_other_cache_gets_a_copy(caches, home):
    env = caches.move_in(MINE, ["npm"], one := home("one"))
    Path(env["NPM_CONFIG_CACHE"], "package").write_text("content")
    caches.move_back(MINE, one)
    assert not names(caches.move_in(OTHERS, ["npm"], home("two"))["NPM_CONFIG_CACHE"])
    assert not names(caches.move_in(MINE, ["pip"], home("three"))["PIP_CACHE_DIR"])


@pytest.mark.parametrize("scope", [MINE, OTHERS, "../../x", "", b"\xff"])
def test_a_copy_in_a_directory_that_a_killed_worker_left_is_kept_before_it_is_deleted(caches, tmp_path, scope):
    left = tmp_path / "work" / "task-1-0"
    (left / "home").mkdir(parents=True)
    env = caches.move_in(MINE, ["npm"], left / "home")
    Path(env["NPM_CONFIG_CACHE"], "package").touch()
    if scope != MINE:  # a file that the worker did not write
        (left / "cache-scope").write_bytes(scope if isinstance(scope, bytes) else scope.encode())
    sweep(str(tmp_path / "work"), RemovalQueue(caches.rescue))
    assert not left.exists()
    assert [name.split(".")[0] for name in stored(caches)] == [scope] * (scope in (MINE, OTHERS))


@pytest.mark.parametrize("scope", ["", "../x", "A" * 32, "a" * 31, "a" * 33])
def test_a_scope_that_no_server_makes_gets_nothing(caches, home, scope):
    assert caches.move_in(scope, ["npm"], home("one")) == {}


def test_names_that_are_no_caches_are_left_out(caches, home):
    assert caches.move_in(MINE, ["../x", "", "NPM", "npm\0"], home("one")) == {}


def test_jobs_side_by_side_never_share_a_copy(caches, home):
    env = caches.move_in(MINE, ["npm"], first := home("first"))
    Path(env["NPM_CONFIG_CACHE"], "warm").touch()
    caches.move_back(MINE, first)
    homes = [home(f"job{number}") for number in range(20)]
    barrier, warm = threading.Barrier(len(homes)), []

    def take(place):
        barrier.wait()
        env = caches.move_in(MINE, ["npm"], place)
        warm.append(names(env["NPM_CONFIG_CACHE"]))

    threads = [threading.Thread(target=take, args=(place,)) for place in homes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(warm) == [[]] * 19 + [["warm"]]


def test_a_copy_that_is_being_checked_is_not_deleted_by_another_job_that_ends(caches, home, monkeypatch):
    for place in (first := home("first"), second := home("second")):
        Path(caches.move_in(MINE, ["npm"], place)["NPM_CONFIG_CACHE"], "package").touch()
    other, check = threading.Thread(target=caches.move_back, args=(MINE, second)), module._size_of

    def checked_while_another_job_ends(top):
        if other.ident is None:
            other.start()
            other.join(0.5)  # it waits for this one, or would be through
        return check(top)

    monkeypatch.setattr(module, "_size_of", checked_while_another_job_ends)
    caches.move_back(MINE, first)
    other.join()
    assert [names(caches.path / name) for name in stored(caches)] == [["package"]] * 2


def hard_link(place):
    (place / "file").touch()
    (place / "again").hardlink_to(place / "file")


def pipe(place):
    os.mkfifo(place / "pipe")


def link_in_its_place(place):
    place.rmdir()
    place.symlink_to("/etc")


def file_in_its_place(place):
    place.rmdir()
    place.write_text("x")


def too_large(place):
    (place / "large").write_bytes(os.urandom(11_000_000))


@pytest.mark.parametrize("evil", [hard_link, pipe, link_in_its_place, file_in_its_place, too_large])
def test_a_copy_that_is_no_cache_is_thrown_away(caches, home, evil):
    env = caches.move_in(MINE, ["npm"], one := home("one"))
    evil(Path(env["NPM_CONFIG_CACHE"]))
    caches.move_back(MINE, one)
    assert stored(caches) == []
    assert Path("/etc").is_dir()
    assert not names(caches.move_in(MINE, ["npm"], home("two"))["NPM_CONFIG_CACHE"])


def test_nothing_is_taken_through_a_link_in_place_of_all_caches(caches, home, tmp_path):
    caches.move_in(MINE, ["npm"], one := home("one"))
    victim = tmp_path / "victim"
    (victim / "npm").mkdir(parents=True)
    (one / ".caches/npm").rmdir()
    (one / ".caches").rmdir()
    (one / ".caches").symlink_to(victim)
    caches.move_back(MINE, one)
    assert (victim / "npm").is_dir()
    assert stored(caches) == []


def test_links_in_a_copy_are_kept_and_not_followed(caches, home):
    env = caches.move_in(MINE, ["npm"], one := home("one"))
    Path(env["NPM_CONFIG_CACHE"], "link").symlink_to("/")
    caches.move_back(MINE, one)
    assert len(stored(caches)) == 1


def test_the_oldest_copies_are_deleted_beyond_the_limit(caches, home):
    for name in ("npm", "pip", "cargo"):
        env = caches.move_in(MINE, [name], place := home(name))
        Path(next(iter(env.values())), "data").write_bytes(os.urandom(4_000_000))
        caches.move_back(MINE, place)
    assert [name.split(".")[1] for name in stored(caches)] == ["cargo", "pip"]


async def test_a_copy_is_in_the_jobs_home_until_its_end(tmp_path, home):
    settings = WorkerSettings(cache_dir=str(tmp_path / "caches"))
    workspace = {"caches": ["npm"], "cacheScope": MINE}
    async with (
        allocate(settings, home("one"), workspace) as first,
        allocate(settings, home("two"), workspace) as second,
    ):
        places = {first.env["NPM_CONFIG_CACHE"], second.env["NPM_CONFIG_CACHE"]}
        assert len(places) == 2
        assert names(tmp_path / "caches") == []
    assert len(names(tmp_path / "caches")) == 2


async def test_a_worker_without_a_directory_for_them_lends_none(home):
    async with allocate(WorkerSettings(), home("one"), {"caches": ["npm"], "cacheScope": MINE}) as allocation:
        assert "NPM_CONFIG_CACHE" not in allocation.env
