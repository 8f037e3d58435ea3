"""A repository of another person is sent, changed and returned, and no program that it names runs."""

import pytest
from support import forkserver
from support.hostile_repository import Hostile
from support.repositories import SETTINGS


@pytest.fixture
def hostile(cluster):
    cluster.add_worker("w0")
    top = cluster.home / "hostile"
    top.mkdir()
    return Hostile(top)


def ado(cluster, hostile, *words):
    env = {**cluster.client_env(), **SETTINGS}
    done = forkserver.run(words, env=env, cwd=str(hostile.tree.path), timeout=90)
    done.stdout, done.stderr = done.stdout.decode(), done.stderr.decode()
    return done


def test_configuration_hooks_and_filters_run_neither_locally_nor_on_the_worker(cluster, hostile):
    work = "echo 0 > f; echo 2 > x.a=b; printf '* filter=x merge=x diff=x\\n' > .gitattributes; echo n > new"
    sent = ado(cluster, hostile, "run", "--remote", "--repo", "--dirty", "--agent", "shell", work)
    assert sent.returncode == 0, sent.stderr
    assert "not run, because this repository's own configuration names it" in sent.stderr
    assert "4 files" in sent.stderr
    downloaded = ("download", "task-1", "f", "--to", str(hostile.mark.parent / "to"))
    others = (
        ("diff", "task-1"),
        ("diff", "task-1", "--stat"),
        ("apply", "task-1"),
        ("refs", "list"),
        ("refs", "prune"),
    )
    for words in (downloaded, *others):
        done = ado(cluster, hostile, *words)
        assert done.returncode == 0, (words, done.stderr)
    assert (hostile.tree.path / "f").read_text() == "0\n"
    assert not hostile.mark.exists()
