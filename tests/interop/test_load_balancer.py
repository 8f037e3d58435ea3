"""Two replicas behind a real load balancer with the configuration of ``deploy/proxy``: no stickiness, replicas rolled.

Everything goes through the one address: the command line, the worker, an unmodified ``@trpc/client``.
"""

import json
import re
import signal
import threading
import urllib.request

import pytest
from support.balancer import Balancer, program
from support.program import Cluster, until


@pytest.fixture
def cluster(dsn, home):
    """Two replicas that drain quickly."""
    made = Cluster(dsn, home, env={"ADO_DRAIN_SECONDS": "3", "ADO_TRUSTED_PROXIES": "127.0.0.1"})
    try:
        yield made.add_replicas(2)
    finally:
        made.close()


@pytest.fixture(params=["nginx", "haproxy", "caddy"])
def balancer(request, cluster, home):
    if program(request.param) is None:
        pytest.skip(f"{request.param} is not installed: apt install {request.param}")
    with Balancer(request.param, home, cluster.urls) as made:
        until(lambda: Cluster._ready(made.url), "the balancer to find a replica")
        yield made


@pytest.fixture
def follow(balancer, driver):
    """Return what starts a subscription of an unmodified client to the first task."""
    started = []

    def start(link):
        started.append(driver.start(balancer.url, link, "stream.taskEvents", {"taskId": "task-1"}))
        return started[-1]

    yield start
    for follower in started:
        follower.kill()
        follower.communicate()


def served(cluster, procedure):
    """Return how many calls of a procedure each replica has answered."""
    counts = []
    for url in cluster.urls:
        request = urllib.request.Request(f"{url}/metrics", headers={"authorization": f"Bearer {cluster.token}"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read().decode()
        counts.append(sum(float(n) for n in re.findall(rf'_calls_total{{.*"{procedure}".*}} (\S+)', text)))
    return counts


def roll(cluster, index):
    """Stop a replica as a rollout does, and start the next one in its place."""
    cluster.replicas[index].send_signal(signal.SIGTERM)
    assert cluster.replicas[index].wait(60) == 0
    cluster.replicas[index] = cluster.start("api", "--port", cluster.urls[index].rpartition(":")[2])
    until(lambda: Cluster._ready(cluster.urls[index]), "the new replica to be ready")
    until(lambda: served(cluster, "workers.status")[index], "the balancer to ask the new replica")


class Asker:
    """Calls repeatedly through the balancer, and keeps every answer that is not of a ready replica."""

    def __init__(self, cluster, url):
        self._request = urllib.request.Request(
            f"{url}/trpc/workers.status", headers={"authorization": f"Bearer {cluster.token}"}
        )
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.answers = 0
        self.failures = []

    def _run(self):
        while not self._ended.is_set():
            try:
                with urllib.request.urlopen(self._request, timeout=60) as answer:
                    json.load(answer)
                self.answers += 1
            except OSError as error:
                self.failures.append(str(error))
            self._ended.wait(0.02)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()


def ids(lines):
    return [int(line["item"]["id"]) for line in lines if "item" in line]


def text(lines):
    return "".join(line["item"]["data"]["data"] for line in lines if line.get("item", {}).get("data", {}).get("data"))


@pytest.mark.timeout(300)
def test_viewers_get_each_event_once_while_both_replicas_are_rolled(balancer, cluster, follow, home):
    go = home / "go"
    script = f"i=1; until [ -e {go} ]; do echo line $i; i=$((i + 1)); sleep 0.05; done; echo end"
    worker = cluster.add_worker("w1", url=balancer.url)
    watching = cluster.open("run", "--remote", "--agent", "shell", script, url=balancer.url)
    first = watching.stdout.readline()
    followers = [follow("ws"), follow("sse")]
    heads = [[json.loads(follower.stdout.readline()) for _ in range(5)] for follower in followers]
    with Asker(cluster, balancer.url) as asker:
        for index in (0, 1):
            roll(cluster, index)
        asked = asker.answers
        until(lambda: asker.answers > asked + 4, "answers after the roll")
    go.touch()
    out, err = watching.communicate(timeout=60)
    assert watching.returncode == 0, err
    lines = (first + out).decode().splitlines()
    assert lines == [*(f"line {n}" for n in range(1, len(lines))), "end"]
    written = "".join(f"{line}\n" for line in lines)
    events = cluster.events("task-1")
    assert [event["type"] for event in events if event["type"] in ("started", "requeued", "succeeded")] == [
        "started", "succeeded",
    ]  # fmt: skip
    for follower, head in zip(followers, heads, strict=True):
        seen = head + [json.loads(line) for line in follower.stdout]
        assert follower.wait(60) == 0
        assert ids(seen) == [event["seq"] for event in events]
        assert text(seen) == written
        assert seen[-1] == {"state": "complete"}
        assert not [line for line in seen if "error" in line]
    assert asker.failures == []
    assert worker.poll() is None


def test_the_only_replica_is_kept_when_it_is_late_once(balancer, cluster):
    cluster.replicas[1].send_signal(signal.SIGTERM)
    assert cluster.replicas[1].wait(60) == 0
    paused = threading.Event()
    with Asker(cluster, balancer.url) as asker:
        until(lambda: asker.answers > 4, "answers of the replica that is left")
    cluster.replicas[0].send_signal(signal.SIGSTOP)
    paused.wait(2.4)  # a check that waits for one second, as HAProxy's does by itself, has failed by now
    with Asker(cluster, balancer.url) as late:
        paused.wait(0.3)  # the pause stays shorter than the 3 s that a check may take
        cluster.replicas[0].send_signal(signal.SIGCONT)
        until(lambda: late.answers > 4, "answers after the pause")
    assert asker.failures + late.failures == []


def test_calls_rotate_over_the_replicas_and_a_forged_client_address_is_ignored(balancer, cluster, driver):
    before = served(cluster, "tasks.list")
    for _ in range(3):
        answers = driver.calls(balancer.url, "batch-one", *[["tasks.list", "query", {"limit": 1}]] * 4)
        assert [answer["ok"]["items"] for answer in answers] == [[]] * 4
    counts = [after - start for after, start in zip(served(cluster, "tasks.list"), before, strict=True)]
    assert sum(counts) == 12
    assert min(counts) >= 4
    request = urllib.request.Request(
        f"{balancer.url}/trpc/users.add",
        data=b'{"name":"anna","role":"developer"}',
        headers={
            "authorization": f"Bearer {cluster.token}",
            "content-type": "application/json",
            "x-forwarded-for": "203.0.113.9",
        },
    )
    urllib.request.urlopen(request, timeout=60).close()
    entries = json.loads(cluster.ado("audit", "-o", "json", url=balancer.url, check=0).stdout)["items"]
    assert [entry["address"] for entry in entries if entry["procedure"] == "users.add"] == ["127.0.0.1"]


def test_haproxy_and_caddy_serve_tls(cluster, home):
    for kind in ("haproxy", "caddy"):
        if program(kind) is None:
            pytest.skip(f"{kind} is not installed: apt install {kind}")
        with Balancer(kind, home, cluster.urls, tls=True) as balancer:
            until(balancer.ca.exists, "the CA that Caddy makes")
            done = cluster.ado("workers", "status", "--ca", str(balancer.ca), url=balancer.url, check=0)
        assert done.stdout.startswith(b"workers: none")
