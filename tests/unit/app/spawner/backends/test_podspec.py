"""The pod that is put together."""

from dataclasses import replace

import pytest

from app.core.settings import SettingsError
from app.spawner.backends.kubernetes import Cluster
from app.spawner.backends.podspec import (
    PodFrame,
    Template,
    merge,
    pod_manifest,
    read_template,
    samples,
    secret_manifest,
)
from db.model import ResourceAmounts
from db.pods import PodAction

TASK = PodAction(
    "ado-task-123-2-d57", 57, (123, 2), frozenset({"shell", "gpu"}), ("gpu", "shell"),
    ResourceAmounts(0.5, 2**30, 1), {}, "wanted", None, None,
)  # fmt: skip


def frame(**layers):
    return PodFrame("ns", "inst", ["http://a", "http://b"], "ado:1", "nvidia.com/gpu", 10, Template(**layers))


def built(overrides=(), **layers):
    task = PodAction(**{name: getattr(TASK, name) for name in PodAction.__slots__} | {"overrides": dict(overrides)})
    pod = pod_manifest(frame(**layers), task)
    Cluster.check(None, pod)
    return pod


def worker(pod):
    return next(item for item in pod["spec"]["containers"] if item["name"] == "worker")


def test_the_built_in_pod_is_restricted_sized_and_has_no_account():
    spec = built()["spec"]
    own = spec["containers"][0]
    assert (spec["automountServiceAccountToken"], spec["enableServiceLinks"], spec["restartPolicy"]) == (
        False,
        False,
        "Never",
    )
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert own["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    size = {"cpu": "500m", "memory": str(2**30), "nvidia.com/gpu": "1"}
    assert own["resources"] == {"requests": size, "limits": size}
    mounts = {mount["mountPath"]: mount["name"] for mount in own["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    assert set(mounts) == {"/work", "/tmp", "/var/run/secrets/ado"}
    assert volumes[mounts["/work"]] == {"name": "work", "emptyDir": {}}
    assert volumes["token"]["secret"] == {"secretName": TASK.name, "defaultMode": 0o440}


def test_the_token_is_only_in_the_secret_of_the_pod():
    secret = secret_manifest(frame(), TASK, "uid-1", "ado_secret")
    assert secret["metadata"]["name"] == TASK.name
    assert secret["metadata"]["ownerReferences"] == [
        {"apiVersion": "v1", "kind": "Pod", "name": TASK.name, "uid": "uid-1"}
    ]
    assert secret["stringData"] == {"token": "ado_secret"}
    env = {item["name"]: item["value"] for item in worker(built())["env"]}
    assert env["ADO_TOKEN_FILE"] == "/var/run/secrets/ado/token"
    assert "ADO_TOKEN" not in env


def test_the_grace_period_of_the_pod_covers_the_drain_of_its_worker():
    pod = built()
    env = {item["name"]: float(item["value"]) for item in worker(pod)["env"] if item["name"].endswith("SECONDS")}
    assert pod["spec"]["terminationGracePeriodSeconds"] > env["ADO_STOP_SECONDS"] + env["ADO_GRACE_SECONDS"]
    with pytest.raises(SettingsError, match="terminationGracePeriodSeconds must be 20"):
        built(base={"spec": {"terminationGracePeriodSeconds": 5}})


def test_later_layers_override_earlier_ones():
    def layer(image, **env):
        variables = [{"name": name, "value": value} for name, value in env.items()]
        return {"spec": {"containers": [{"name": "worker", "image": image, "env": variables}]}}

    pod = built(
        base=layer("base:1", A="base", B="base", ADO_WORKER_ID="forged"),
        capabilities={"gpu": layer("gpu:1", B="gpu"), "other": layer("other:1")},
    )
    env = {item["name"]: item["value"] for item in worker(pod)["env"]}
    assert (worker(pod)["image"], env["A"], env["B"], env["ADO_WORKER_ID"]) == ("gpu:1", "base", "gpu", TASK.name)
    asked = built({"image": "mine:1", "nodeSelector": {"zone": "a"}}, capabilities={"gpu": layer("gpu:1")})
    assert worker(asked)["image"] == "mine:1"
    assert asked["spec"]["nodeSelector"] == {"zone": "a"}


def test_fields_that_ado_needs_cannot_be_overridden():
    theirs = {
        "metadata": {"name": "x", "labels": {"ado/installation": "x", "team": "t"}},
        "spec": {"restartPolicy": "Always", "containers": [{"name": "worker", "resources": {"limits": {"cpu": "9"}}}]},
    }
    pod = built(base=theirs)
    assert pod["metadata"]["name"] == TASK.name
    assert pod["metadata"]["labels"] | {"ado/installation": "inst", "team": "t"} == pod["metadata"]["labels"]
    assert pod["spec"]["restartPolicy"] == "Never"
    assert worker(pod)["resources"]["limits"]["cpu"] == "500m"


def test_lists_merge_as_a_strategic_patch_does():
    below = {"volumes": [{"name": "work", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}], "tolerations": [1], "a": 1}
    above = {
        "volumes": [{"name": "work", "emptyDir": None, "persistentVolumeClaim": {"claimName": "c"}}, {"name": "new"}],
        "tolerations": [2],
        "a": None,
    }
    assert merge(below, above) == {
        "volumes": [
            {"name": "work", "persistentVolumeClaim": {"claimName": "c"}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "new"},
        ],
        "tolerations": [2],
    }
    assert merge({"volumes": [{"name": "a"}]}, {"volumes": [{"name": "a", "$patch": "delete"}]}) == {"volumes": []}
    assert merge({"x": {"a": 1}}, {"x": {"$patch": "replace", "b": 2}}) == {"x": {"b": 2}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("base: [1", "no YAML"),
        ("spec: {}", "two members"),
        ("base: 3", "part of a pod"),
        ("capabilities: {gpu: 3}", "part of a pod"),
        ("- 1", "two members"),
    ],
)
def test_a_file_that_is_no_template_is_refused(text, said):
    with pytest.raises(SettingsError, match=said):
        read_template(text)


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        ({"spec": {"enableServiceLink": False}}, "spec.enableServiceLink"),
        ({"spec": {"activeDeadlineSeconds": "8"}}, "spec.activeDeadlineSeconds"),
        ({"spec": {"containers": [{"name": "worker", "imagePullPolice": "x"}]}}, "spec.containers.0.imagePullPolice"),
        ({"metadata": {"labels": {"a": 1}}}, "metadata.labels.a"),
    ],
)
def test_a_template_that_makes_no_pod_is_refused_at_start_with_its_place(layer, said):
    with pytest.raises(SettingsError, match=said):
        built(capabilities={"gpu": layer})


def test_every_layer_is_tried_alone_and_all_together():
    tried = samples(frame(capabilities={"gpu": {}, "claude-code": {}}), ["shell"])
    assert [sorted(task.capabilities) for task in tried] == [[], ["claude-code"], ["gpu"], ["claude-code", "gpu"]]


def test_a_pod_without_image_is_refused():
    bare = PodFrame("ns", "i", ["http://a"], "", "nvidia.com/gpu", 10, Template())
    with pytest.raises(SettingsError, match="ADO_POD_IMAGE"):
        pod_manifest(bare, TASK)


@pytest.mark.parametrize(
    ("key", "needs", "offered", "optional"),
    [
        ((1, 0), {"shell"}, "shell", ""),
        ((1, 0), {"codex", "pod"}, "codex,pod", ""),
        (None, set(), "shell,codex,pod", "shell,codex,pod"),
        (None, {"codex"}, "shell,codex,pod", "shell,pod"),
    ],
    ids=["a job", "a job with overrides", "warm", "warm for something"],
)
def test_a_pod_offers_the_needs_of_its_job_and_a_warm_pod_all_agents(key, needs, offered, optional):
    given = {"key": key, "capabilities": frozenset(needs), "offered": ("shell", "codex", "pod")}
    task = PodAction(**{name: getattr(TASK, name) for name in PodAction.__slots__} | given)
    env = {item["name"]: item["value"] for item in worker(pod_manifest(frame(), task))["env"]}
    assert (env["ADO_CAPABILITIES"], env["ADO_OPTIONAL_CAPABILITIES"]) == (offered, optional)


def asked(**given):
    return PodAction(**{name: getattr(TASK, name) for name in PodAction.__slots__} | given)


LOST = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30}
TAINTS = [{"key": f"node.kubernetes.io/{name}", **LOST} for name in ("not-ready", "unreachable")]


def test_a_pod_leaves_a_silent_node_early_unless_the_template_overrides_it():
    assert built()["spec"]["tolerations"] == TAINTS
    theirs = [{"key": "agents", "operator": "Exists"}]
    assert built(base={"spec": {"tolerations": theirs}})["spec"]["tolerations"] == [*theirs, *TAINTS]
    slower = [{**TAINTS[0], "tolerationSeconds": 300}]
    assert built(base={"spec": {"tolerations": slower}})["spec"]["tolerations"] == [*slower, TAINTS[1]]
    every = [{"operator": "Exists"}]
    assert built(base={"spec": {"tolerations": every}})["spec"]["tolerations"] == every


def test_a_pod_prefers_other_nodes_than_one_where_a_pod_was_just_lost():
    name = "preferredDuringSchedulingIgnoredDuringExecution"
    theirs = {"weight": 1, "preference": {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}}
    layers = {"base": {"spec": {"affinity": {"nodeAffinity": {name: [theirs]}}}}}
    assert "affinity" not in pod_manifest(frame(), TASK)["spec"]
    pod = pod_manifest(frame(**layers), asked(avoid=("node-1", "node-2")))
    Cluster.check(None, pod)
    kept, ours = pod["spec"]["affinity"]["nodeAffinity"][name]
    assert kept == theirs
    assert ours["preference"]["matchExpressions"] == [
        {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["node-1", "node-2"]}
    ]
    assert pod_manifest(frame(**layers), TASK)["spec"]["affinity"]["nodeAffinity"][name] == [theirs]


@pytest.mark.parametrize(
    ("cores", "limit", "request_", "most"),
    [
        (0.1, 0, "100m", "100m"),
        (0.1, 1, "100m", "1000m"),
        (4, 1, "4000m", "4000m"),
        (0.0001, 0, "1m", "1m"),
        (0.29, 0, "290m", "290m"),
        (0.0015, 0, "2m", "2m"),
    ],
)
def test_the_limit_of_cores_may_exceed_the_request(cores, limit, request_, most):
    of_frame = replace(frame(), cpu_limit=limit)
    resources = worker(pod_manifest(of_frame, asked(resources=ResourceAmounts(cores, 2**20, 0.5))))["resources"]
    assert (resources["requests"]["cpu"], resources["limits"]["cpu"]) == (request_, most)
    assert resources["limits"]["memory"] == resources["requests"]["memory"] == str(2**20)
    assert resources["limits"]["nvidia.com/gpu"] == "1"
