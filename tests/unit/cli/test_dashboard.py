"""When the dashboard of a checkout is built, and what happens where it cannot be. Node and npm are scripts here."""

import os
import threading

import pytest

from cli import dashboard
from cli.dashboard import BuildFailed, build, is_current

NODE = """#!/bin/sh
if [ "$1" = --version ]; then echo {version}; exit; fi
echo built >> runs
mkdir -p dist && echo "$(cat src/main.tsx)" > dist/index.html
"""


@pytest.fixture
def web(tmp_path, monkeypatch):
    """A source, and a Node that builds it."""
    web, programs = tmp_path / "web", tmp_path / "bin"
    (web / "src").mkdir(parents=True)
    programs.mkdir()
    for name in ("package.json", "package-lock.json", "build.mjs", "index.html", "src/main.tsx"):
        (web / name).write_text(name)
    (programs / "npm").write_text("#!/bin/sh\necho installed >> runs\nmkdir -p node_modules\n")
    (programs / "node").write_text(NODE.format(version="v22.1.0"))
    for program in programs.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return web


def runs(web):
    return (web / "runs").read_text().split() if (web / "runs").exists() else []


def age(path):
    """Make a file as old as nothing else is."""
    os.utime(path, (1, 1))


def test_the_dashboard_is_built_once_for_each_change_of_its_source(web):
    assert not is_current(web)
    build(web)
    assert is_current(web)
    build(web)
    assert runs(web) == ["installed", "built"]
    age(web / "dist" / "index.html")
    build(web)
    assert runs(web) == ["installed", "built", "built"]


def test_other_packages_are_installed_when_the_lock_changes(web):
    build(web)
    (web / "package-lock.json").write_text("another")
    age(web / "dist" / "index.html")
    build(web)
    assert runs(web) == ["installed", "built"] * 2


def test_several_processes_build_once(web):
    threads = [threading.Thread(target=build, args=(web,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert runs(web) == ["installed", "built"]


def test_a_wheel_has_no_source_and_builds_nothing(tmp_path):
    (tmp_path / "dist").mkdir()
    assert is_current(tmp_path)
    build(tmp_path)
    assert list((tmp_path / "dist").iterdir()) == []


def test_a_failed_build_names_its_log_and_is_tried_again(web):
    node = web.parent / "bin" / "node"
    node.write_text('#!/bin/sh\n[ "$1" = --version ] && echo v22.1.0 && exit\necho why >&2; exit 3\n')
    for _ in range(2):
        with pytest.raises(BuildFailed, match=r"build.mjs failed; see .*/build/log"):
            build(web)
        assert (web / "build" / "log").read_text() == "why\n"
    assert not is_current(web)


@pytest.mark.parametrize("version", ["v18.20.0", "v9.0.0", "", "no version"])
def test_an_old_node_is_none(web, monkeypatch, version):
    (web.parent / "bin" / "node").write_text(NODE.format(version=version))
    monkeypatch.setattr(dashboard.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BuildFailed, match="there is no Node: install Node 20 or newer"):
        build(web)
    assert runs(web) == []


def test_a_dashboard_that_cannot_be_built_stops_nothing(web, monkeypatch):
    monkeypatch.setattr(dashboard, "find_node", lambda: None)
    said = []
    dashboard.prepare(said.append, install_node=False, web=web)
    assert len(said) == 2
    assert "no dashboard: there is no Node" in said[1]
