"""Replicas, spawners and a namespace, on a real cluster or on the tests' own; what is the same on both."""

import asyncio
import json
from pathlib import Path

from kubernetes import client, config

from db import tasks
from db.database import Database
from support.kube.server import FakeCluster
from support.program import until
from support.records import create

QUICK = {
    "ADO_SPAWNER_SECONDS": "0.2",
    "ADO_POD_CPU": "0.1",
    "ADO_POD_MEMORY": str(256 * 2**20),
    "ADO_POD_STOP_SECONDS": "0.5",
    "ADO_POD_RETRY_SECONDS": "3",
    "ADO_IMAGE_PULL_SECONDS": "1",
    "ADO_PENDING_SECONDS": "60",
    "ADO_KUBE_QPS": "50",
    "ADO_KUBE_REQUEST_SECONDS": "5",
    "ADO_WATCH_SECONDS": "2",
    "ADO_IDLE_SECONDS": "5",
}
SLOW_LEASE = {"ADO_HEARTBEAT_SECONDS": "5", "ADO_SUSPECT_SECONDS": "60", "ADO_LEASE_SECONDS": "120"}


def placed(bench, count, seconds=60):
    """Wait until so many pods have been made."""
    until(lambda: bench.states().get("placed", 0) == count, f"{count} pods to be placed", seconds)


def pod_events(bench):
    """Return what the logs say of pods."""
    return bench.ado.sql("select body from ado.events where type = 'pod' order by seq")


class Bench:
    """``kubeconfig``, image and URL are a real cluster's; without them ``fake`` is the cluster."""

    def __init__(self, cluster, home, kubeconfig="", image="ado:test", public_url=""):
        self.ado = cluster
        self.fake = None if kubeconfig else FakeCluster(Path(home))
        self.image = image
        self.public_url = public_url
        spawners = self.fake.kubeconfig if self.fake else kubeconfig
        self.ado.env |= QUICK | {"KUBECONFIG": str(spawners), "ADO_POD_IMAGE": self.image}
        self.ado.env |= {"ADO_TASK_IMAGES": "*", "ADO_TASK_NODE_LABELS": "ado-test/nowhere"}
        loaded = client.Configuration()
        config.load_kube_config(str(self.fake.admin_kubeconfig if self.fake else spawners), client_configuration=loaded)
        loaded.retries = False
        _, active = config.list_kube_config_contexts(str(spawners))
        self.namespace = active["context"].get("namespace", "default")
        self.api_client = client.ApiClient(loaded)
        self.core = client.CoreV1Api(self.api_client)
        self.spawners = []

    def start(self):
        self.ado.add_replicas(2, public_url=self.public_url)
        return self

    def add_spawner(self, **env):
        urls = self.public_url or ",".join(self.ado.urls)
        process = self.ado.start("spawner", "--backend", "kubernetes", "--url", urls, env=env)
        self.spawners.append(process)
        return process

    def run(self, *arguments, check=None, timeout=90):
        return self.ado.ado("run", "--remote", "--agent", "shell", *arguments, check=check, timeout=timeout)

    def begin(self, *arguments):
        """Start a task and return its id."""
        return self.run("--detach", "-o", "name", *arguments, check=0).stdout.decode().strip()

    def selector(self):
        return f"ado/installation={self.ado.sql('select installation from ado.control')[0][0]}"

    def _list(self, method):
        answer = method(self.namespace, label_selector=self.selector(), _preload_content=False)
        return [item["metadata"]["name"] for item in json.loads(answer.data)["items"]]

    def pods(self):
        return self._list(self.core.list_namespaced_pod)

    def secrets(self):
        return self._list(self.core.list_namespaced_secret)

    def delete(self, name, **options):
        """Delete a pod, as somebody else would."""
        self.core.delete_namespaced_pod(name, self.namespace, _preload_content=False, **options).read()

    def until_clean(self, seconds=60):
        """Wait until no pod and no Secret of this installation is left, and every row says so."""
        until(lambda: not self.pods() and not self.secrets(), "no pod or Secret to be left", seconds)
        until(lambda: not self.open_rows(), "every row to be closed", seconds)

    def queue(self, count):
        """Queue a task of so many jobs, past the API."""

        async def queued():
            db = await Database.open(self.ado.dsn, size=1)
            try:
                return await create(db, workers=count)
            finally:
                await db.close()

        return asyncio.run(queued())

    def cancel(self, task_id):
        """Cancel a task, past the API."""

        async def cancel():
            db = await Database.open(self.ado.dsn, size=1)
            try:
                await tasks.cancel(db, task_id, None)
            finally:
                await db.close()

        asyncio.run(cancel())

    def states(self):
        """Return how many pods are in which state."""
        return dict(self.ado.sql("select state, count(*) from ado.pods group by state"))

    def open_rows(self):
        return self.ado.sql("select name, state from ado.pods where state <> 'ended'")

    def decisions(self):
        return self.ado.sql("select count(*) from ado.pods")[0][0]

    def told(self, task):
        """Return what the log of a task says of its pods."""
        return [event for event in self.ado.events(task) if event["type"] == "pod"]

    def close(self):
        self.ado.close()
        if self.fake:
            self.fake.close()
        else:
            for name in self.pods():
                self.core.delete_namespaced_pod(name, self.namespace, grace_period_seconds=0)
        self.api_client.close()
