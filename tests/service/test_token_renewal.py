"""A worker whose token is renewed keeps its jobs, whether the new token or the end of the old one comes first."""

import json

import pytest
from support.program import PATIENT, Cluster, until, write_token


@pytest.fixture
def cluster(dsn, home):
    """Two replicas whose leases outlast a test: how soon a refused worker hears of its new token is not of interest."""
    made = Cluster(dsn, home, env=PATIENT)
    try:
        yield made.add_replicas(2)
    finally:
        made.close()


def token(cluster):
    made = cluster.ado("token", "create", "--role", "worker", "--worker", "w", "-o", "json", check=0)
    return json.loads(made.stdout)


@pytest.mark.parametrize("first", ["file", "revocation"])
def test_a_renewed_token_interrupts_no_job(cluster, first):
    file = cluster.home / "w.token"
    old = token(cluster)
    write_token(file, old["token"])
    url = ",".join(cluster.urls)
    command = ["--id", "w", "--url", url, "--token-file", str(file), "--work-dir", str(cluster.home / "work")]
    worker = cluster.start("worker", *command, "--capability", "shell")
    script = f"until test -e {cluster.home}/go; do echo x; sleep 0.05; done"
    name = cluster.ado("run", "--remote", "--detach", "-o", "name", "--agent", "shell", script, check=0)
    name = name.stdout.decode().strip()
    until(lambda: cluster.sql("select 1 from ado.jobs where status = 'running'"), "the job to run")
    new = token(cluster)["token"]
    if first == "file":
        file.write_text(new)
    cluster.ado("token", "revoke", old["tokenId"], check=0)
    if first == "revocation":
        refused = "select last_heartbeat_at < now() - interval '1 second' from ado.workers where worker_id = 'w'"
        until(lambda: cluster.sql(refused) == [(True,)], "the worker to be refused")
        file.write_text(new)
    before = cluster.sql("select max(seq) from ado.events")[0][0]
    until(lambda: cluster.sql("select max(seq) from ado.events")[0][0] > before + 20, "more output", 60)
    (cluster.home / "go").touch()
    cluster.ado("wait", name, check=0)
    (job,) = json.loads(cluster.ado("tasks", "show", name, "-o", "json", check=0).stdout)["jobs"]
    assert (job["status"], job["attempt"]) == ("succeeded", 1)
    assert worker.poll() is None


def test_a_revoked_worker_ends(cluster):
    file = cluster.home / "w.token"
    old = token(cluster)
    write_token(file, old["token"])
    url = ",".join(cluster.urls)
    worker = cluster.start("worker", "--id", "w", "--url", url, "--token-file", str(file), "--capability", "shell")
    until(lambda: cluster.sql("select 1 from ado.workers where worker_id = 'w'"), "the worker")
    cluster.ado("token", "revoke", old["tokenId"], check=0)
    assert worker.wait(60) == 1
