"""The spawner on a cluster as the manifests install it: its rights are its calls, its pods are admitted."""

import inspect
import re
from dataclasses import replace
from pathlib import Path

import kubernetes_validate
import pytest
from support.dockerfile import parse
from support.kube.server import SPAWNER_MAY, FakeCluster
from support.manifests import problems
from support.rendering import DEPLOY, container, environment, one, rendered

from app.core.settings import read
from app.spawner.backends.kubernetes import Cluster
from app.spawner.backends.podspec import PodFrame, pod_manifest, read_template, samples
from app.spawner.backends.rate_limit import TokenBucket
from app.spawner.settings import SpawnerSettings
from worker.agents import AGENTS

TEMPLATE = read_template((DEPLOY / "kubernetes" / "pod-template.yaml").read_text())
FRAME = PodFrame("ado-workers", "i", ["http://ado-api.ado.svc:7421"], "ado:test", "nvidia.com/gpu", 10.0, TEMPLATE)
POD = pod_manifest(FRAME, samples(FRAME, ["shell"])[0])
NAME = POD["metadata"]["name"]
SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": NAME}, "data": {}}
CALLS = {
    "create_pod": lambda cluster: cluster.create_pod(POD),
    "create_secret": lambda cluster: cluster.create_secret(SECRET),
    "get_pod": lambda cluster: cluster.get_pod(NAME),
    "list_pods": lambda cluster: cluster.list_pods(FRAME.selector),
    "watch_pods": lambda cluster: list(cluster.watch_pods(FRAME.selector, cluster.list_pods(FRAME.selector)[1], 1)),
    "delete_pod": lambda cluster: cluster.delete_pod(NAME, cluster.get_pod(NAME)["metadata"]["uid"]),
}
SILENT = {"check", "stop", "close"}


@pytest.fixture(scope="module")
def base():
    return rendered(DEPLOY / "kubernetes")


def rights(base):
    rules = one(base, "Role", "ado-spawner")["rules"]
    assert [rule["apiGroups"] for rule in rules] == [[""]] * len(rules)
    return {(resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}


def test_the_role_has_exactly_the_rights_that_the_spawners_tests_run_with(base):
    assert rights(base) == SPAWNER_MAY


def test_the_role_has_exactly_the_verbs_that_are_called(base, home, monkeypatch):
    methods = {name for name, _ in inspect.getmembers(Cluster, inspect.isfunction) if not name.startswith("_")}
    assert methods == CALLS.keys() | SILENT
    fake = FakeCluster(home, images=())  # so that no pod runs
    try:
        monkeypatch.setenv("KUBECONFIG", str(fake.kubeconfig))
        cluster = Cluster("ado-workers", TokenBucket(100, 100), request_seconds=10, connections=2)
        for call in CALLS.values():
            call(cluster)
        cluster.close()
    finally:
        fake.close()
    assert {(resource, verb) for _, verb, resource in fake.requests} == rights(base)


def test_its_pods_are_admitted_to_the_namespace(base):
    kubernetes_validate.validate(POD, "1.34", strict=True)
    secret = ("Secret", "ado-workers", NAME, ["token"])
    named = {**POD, "metadata": {**POD["metadata"], "namespace": "ado-workers"}}
    assert problems([named], outside=[secret]) == []


def test_its_pods_run_as_the_user_of_the_worker_image(base):
    (user,) = parse((DEPLOY / "Dockerfile").read_text())["worker"].all("USER")
    security = POD["spec"]["securityContext"]
    assert f"{security['runAsUser']}:{security['runAsGroup']}" == user


def test_the_default_installation_offers_agents_that_need_no_key(base):
    offered = read(SpawnerSettings, environment(base, "ado-spawner")).worker_capabilities
    assert set(offered) == {name for name, agent in AGENTS.items() if agent.needs is None}


def test_the_template_and_the_api_are_where_the_configuration_says(base):
    variables = environment(base, "ado-spawner")
    mounts = {mount["mountPath"]: mount["name"] for mount in container(base, "ado-spawner")["volumeMounts"]}
    assert mounts[str(Path(variables["ADO_POD_TEMPLATE"]).parent)] == "pod-template"
    assert list(one(base, "ConfigMap", "ado-pod-template")["data"]) == [Path(variables["ADO_POD_TEMPLATE"]).name]
    service = one(base, "Service", "ado-api")
    port = service["spec"]["ports"][0]["port"]
    assert variables["ADO_URL"] == f"http://ado-api.{service['metadata']['namespace']}.svc:{port}"
    assert variables["ADO_NAMESPACE"] == one(base, "Role", "ado-spawner")["metadata"]["namespace"]


def test_the_run_book_describes_the_key_of_an_agent():
    """What stands there is a template; the key reaches the pod of a job that needs the agent, and no other pod."""
    found = re.search(r"```yaml\n(capabilities:.*?)```", (DEPLOY / "README.md").read_text(), re.DOTALL)
    template = read_template(found[1])
    (name,) = template.capabilities
    frame = replace(FRAME, template=template)

    def variables(needs):
        task = replace(samples(FRAME, ["shell", name])[0], capabilities=frozenset(needs))
        made = pod_manifest(frame, task)
        Cluster.check(None, made)
        kubernetes_validate.validate(made, "1.34", strict=True)
        return {item["name"] for item in made["spec"]["containers"][0]["env"]}

    keys = set(AGENTS[name].needs.variables)
    assert variables([name]) & keys
    assert not variables(["shell"]) & keys
