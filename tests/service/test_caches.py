"""Caches of package managers, in each sandbox: kept between the jobs of one user's repository, also after a kill."""

import os
import shutil
import sys

import pytest
from support.package_index import PackageIndex
from support.program import processes_with, until
from support.repositories import Checkout
from support.sandboxes import works

SANDBOXES = [
    "none",
    pytest.param("bubblewrap", marks=pytest.mark.skipif(not works(), reason="bubblewrap does not work here")),
    pytest.param("uid", marks=pytest.mark.skipif(os.geteuid() != 0, reason="takes root")),
]
SCRIPT = 'echo $ADO_JOB_ID >> "$NPM_CONFIG_CACHE/jobs"; wc -l < "$NPM_CONFIG_CACHE/jobs"'


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_a_later_job_of_the_repository_finds_what_an_earlier_one_left_and_another_repository_does_not(cluster, sandbox):
    kept = cluster.home / "caches"
    env = {"ADO_CACHE_DIR": str(kept), "ADO_SANDBOX": sandbox, "ADO_JOB_UIDS": "60800-60840"}
    worker = cluster.add_worker("caching", "--slots", "2", env=env)
    mine, other = (Checkout(cluster.home / name, cluster) for name in ("mine", "other"))
    for checkout in (mine, other):
        checkout.commit({".ado.toml": 'caches = ["npm"]\n'})
    assert mine.run(SCRIPT).stdout.strip() == b"1"
    assert mine.run(SCRIPT).stdout.strip() == b"2"
    assert other.run(SCRIPT).stdout.strip() == b"1"
    hold(mine, worker, kept, SCRIPT)
    cluster.add_worker("caching-2", env=env)
    until(lambda: len(list(kept.iterdir())) == 2, "the copy of the killed worker's job", 60)
    assert mine.run(SCRIPT).stdout.strip() == b"4"
    shutil.rmtree(kept)
    assert mine.run(SCRIPT).stdout.strip() == b"1"


def hold(checkout, worker, kept, script):
    """Kill a worker with kill -9 while a job of its has a copy, and wait until nothing of it runs."""
    before, mark = len(list(kept.iterdir())), f"sleep {600 + worker.pid / 1e7}"
    started = checkout.ado(
        "run", "--remote", "--repo", "--detach", "-o", "name", "--agent", "shell", f"{script}\n{mark}"
    )
    until(
        lambda: len(list(kept.iterdir())) < before and processes_with(f"\0{mark.split()[1]}"),
        "the job to get its copy",
        60,
    )
    worker.kill()
    worker.wait()
    until(lambda: not processes_with(mark) and not processes_with(mark.split()[1]), "the end of its processes", 60)
    checkout.ado("cancel", started.stdout.decode().strip())


@pytest.mark.timeout(300)
@pytest.mark.skipif(not (shutil.which("npm") and shutil.which("node")), reason="there is no npm")
def test_pip_and_npm_find_in_later_jobs_what_jobs_side_by_side_and_a_killed_worker_stored(cluster):
    kept, env = cluster.home / "caches", {"ADO_CACHE_DIR": str(cluster.home / "caches"), "ADO_SANDBOX": "none"}
    worker = cluster.add_worker("packages", "--slots", "3", env=env)
    mine = Checkout(cluster.home / "mine", cluster)
    mine.commit({".ado.toml": 'caches = ["npm", "pip"]\n', "package.json": '{"name": "mine", "private": true}\n'})
    with PackageIndex() as index:
        script = f"""set -e
            {sys.executable} -m pip install -q --disable-pip-version-check --no-deps --target lib \\
                -i {index.url}/simple/ --trusted-host 127.0.0.1 --retries 0 demo
            npm install --no-audit --no-fund --silent --no-save --registry {index.url}/ demo@1.0.0
            PYTHONPATH=lib {sys.executable} -c "import demo; print(demo.word)"
            node -p "require('demo')"
            cmp lib/demo_data/filling node_modules/demo/filling
            npm cache verify | grep -q "Content verified"
            ! npm cache verify | grep -i -E "missing|garbage|corrupt"
        """

        def install(jobs):
            done = mine.run(script, "--workers", str(jobs))
            assert (done.stdout.count(b"from pip"), done.stdout.count(b"from npm")) == (jobs, jobs), done.stdout

        install(1)
        assert index.packages() == (1, 1)
        install(3)
        assert index.packages() == (3, 3)
        install(3)
        assert index.packages() == (3, 3)
        assert len(list(kept.iterdir())) == 6
        hold(mine, worker, kept, script)
        cluster.add_worker("packages-2", "--slots", "3", env=env)
        until(lambda: len(list(kept.iterdir())) == 6, "the copies of the killed worker's job", 60)
        install(3)
        assert index.packages() == (3, 3)
