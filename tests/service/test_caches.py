"""Caches of package managers, in each sandbox: kept between the jobs of one user's repository, lost with a kill."""

import os
import shutil

import pytest
from support.program import until
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
    mine.ado("run", "--remote", "--repo", "--detach", "--agent", "shell", f"{SCRIPT}; sleep 600")
    until(lambda: len(list(kept.iterdir())) == 1, "the copy to be lent")
    worker.kill()
    worker.wait()
    mine.ado("cancel", "task-4")
    cluster.add_worker("caching-2", env=env)
    assert mine.run(SCRIPT).stdout.strip() == b"1"
    shutil.rmtree(kept)
    assert mine.run(SCRIPT).stdout.strip() == b"1"
