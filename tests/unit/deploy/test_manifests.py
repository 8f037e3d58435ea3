"""The Kubernetes manifests: the schema of several versions, and the rules that a schema does not know."""

import copy
import shutil
import subprocess
import tomllib
from functools import cache

import kubernetes_validate
import pytest
from support.kube.immutable import refused_changes
from support.manifests import containers_of, grace_needed, pod_of, problems, reaches
from support.rendering import DEPLOY, ROOT, container, environment, one, pod, rendered

from app.core.settings import read
from app.health.readiness import Readiness, healthz, readyz_route
from app.settings import AppSettings
from app.spawner.backends.settings import KubernetesSettings
from app.spawner.settings import SpawnerSettings

VERSIONS = ["1.28", "1.31", "1.34", "1.36", "1.37"]
RELEASE = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
DATABASE = ("Secret", "ado", "ado-database", ["dsn", "owner-dsn"])
WORKER = {"app.kubernetes.io/name": "ado", "app.kubernetes.io/component": "worker"}
WORKER_PODS = ("ado-workers", WORKER)


@pytest.fixture(scope="module")
def base():
    return rendered(DEPLOY / "kubernetes")


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """The overlay as an operator uses it: a copy with the database's addresses filled in."""
    copied = tmp_path_factory.mktemp("deploy")
    shutil.copytree(DEPLOY / "kubernetes", copied / "kubernetes")
    shutil.copytree(DEPLOY / "overlays", copied / "overlays")
    mine = copied / "overlays" / "example"
    shutil.copy(mine / "database.env.example", mine / "database.env")
    return rendered(mine)


@pytest.fixture(params=["base", "example"])
def objects(request):
    return copy.deepcopy(request.getfixturevalue(request.param))


def check(objects):
    return problems(objects, outside=[DATABASE], pods_outside=[WORKER_PODS])


@pytest.fixture(scope="module")
def schemas():
    """Read each of the large schemas once, not once for every object."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kubernetes_validate.utils, "schema_contents", cache(kubernetes_validate.utils.schema_contents))
        yield


@pytest.mark.usefixtures("schemas")
@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_fits_the_schema(objects, version):
    for item in objects:
        kubernetes_validate.validate(item, version, strict=True)


def test_every_object_keeps_the_rules_beyond_the_schema(objects):
    assert check(objects) == []


NONE = {"matchLabels": {"a": "b"}}
BREAKS = [
    ("is no name", lambda o: one(o, "Service", "ado-api")["metadata"].update(name="ado_api")),
    ("is no quantity", lambda o: container(o, "ado-api")["resources"]["requests"].update(cpu="much")),
    ("more memory than", lambda o: container(o, "ado-api")["resources"]["requests"].update(memory="2Gi")),
    ("limit memory", lambda o: container(o, "ado-api")["resources"].pop("limits")),
    ("restartPolicy cannot be", lambda o: pod(o, "ado-api").update(restartPolicy="Sometimes")),
    ("must have restartPolicy", lambda o: pod(o, "ado-migrate").pop("restartPolicy")),
    ("selects nothing", lambda o: one(o, "Service", "ado-api")["spec"]["selector"].update(x="y")),
    ("selects nothing", lambda o: one(o, "PodDisruptionBudget", "ado-spawner")["spec"].update(selector=NONE)),
    ("selects nothing", lambda o: one(o, "NetworkPolicy", "spawner")["spec"].update(podSelector=NONE)),
    ("which no container has", lambda o: one(o, "Service", "ado-api")["spec"]["ports"][0].update(targetPort="web")),
    ("asks port", lambda o: container(o, "ado-api")["readinessProbe"]["httpGet"].update(port="web")),
    ("is not pinned", lambda o: container(o, "ado-api").update(image="registry:5000/ado")),
    ("is not pinned", lambda o: container(o, "ado-api").update(image="ado:latest")),
    ("may run as root", lambda o: pod(o, "ado-spawner")["securityContext"].pop("runAsNonRoot")),
    ("no seccomp", lambda o: pod(o, "ado-spawner")["securityContext"].pop("seccompProfile")),
    ("gain privileges", lambda o: security(o, "ado-spawner").pop("allowPrivilegeEscalation")),
    ("keeps capabilities", lambda o: security(o, "ado-spawner")["capabilities"].update(add=["NET_ADMIN"])),
    ("root can be written", lambda o: security(o, "ado-migrate").pop("readOnlyRootFilesystem")),
    ("not restricted", lambda o: pod(o, "ado-api")["volumes"].append({"name": "host", "hostPath": {"path": "/"}})),
    ("not restricted", lambda o: pod(o, "ado-api").update(hostNetwork=True)),
    ("enableServiceLinks", lambda o: pod(o, "ado-api").pop("enableServiceLinks")),
    ("automount", lambda o: pod(o, "ado-migrate").pop("automountServiceAccountToken")),
    ("needs ConfigMap", lambda o: container(o, "ado-api")["envFrom"][0]["configMapRef"].update(name="other")),
    ("needs owner of Secret", lambda o: secret(o, "ado-migrate").update(key="owner")),
    ("needs ServiceAccount", lambda o: pod(o, "ado-api").update(serviceAccountName="other")),
    ("which there is not", lambda o: container(o, "ado-api")["volumeMounts"][0].update(name="other")),
    ("binds Role", lambda o: one(o, "RoleBinding", "ado-spawner")["roleRef"].update(name="other")),
    ("is no verb", lambda o: one(o, "Role", "ado-spawner")["rules"][0]["verbs"].append("evict")),
    ("strict subset", lambda o: public(o)["except"].append("::1/128")),
    ("strict subset", lambda o: public(o)["except"].append("0.0.0.0/0")),
    ("IPv4-mapped", lambda o: public(o, 1)["except"].append("::ffff:0:0/96")),
    ("IPv4-mapped", lambda o: public(o, 1).update(cidr="::ffff:10.0.0.0/104")),
    ("beyond the prefix", lambda o: public(o)["except"].append("10.1.0.0/8")),
    ("canonical", lambda o: public(o, 1)["except"].append("FC00::/8")),
    ("canonical", lambda o: public(o, 1)["except"].append("fc00:0::/8")),
    ("valid CIDR", lambda o: public(o)["except"].append("10.0.0.1")),
    ("valid CIDR", lambda o: public(o)["except"].append("10.0.0.0/08")),
    ("does not appear", lambda o: public(o)["except"].append("010.0.0.0/8")),
    ("is no name", lambda o: one(o, "Job", "ado-migrate")["metadata"].update(name="m" * 64)),
    ("is no key", lambda o: one(o, "ConfigMap", "ado-api")["data"].update({"a b": "c"})),
    ("is no annotation", lambda o: one(o, "Service", "ado-api")["metadata"].update(annotations={"a": 1})),
    ("port cannot be", lambda o: one(o, "Service", "ado-api")["spec"]["ports"][0].update(port=70000)),
    ("backoffLimit cannot", lambda o: one(o, "Job", "ado-migrate")["spec"].update(backoffLimit=-1)),
    ("when maxSurge is 0", lambda o: rolling(o).update(maxSurge=0)),
    ("mount paths", lambda o: container(o, "ado-api")["volumeMounts"].append({"name": "tmp", "mountPath": "/tmp"})),
    ("is no variable", lambda o: container(o, "ado-api")["env"].append({"name": "A=B", "value": ""})),
    ("killed before", lambda o: pod(o, "ado-api").update(terminationGracePeriodSeconds=4)),
]  # fmt: skip


def security(objects, name):
    return container(objects, name)["securityContext"]


def rolling(objects):
    return one(objects, "Deployment", "ado-api")["spec"]["strategy"]["rollingUpdate"]


def secret(objects, name):
    return container(objects, name)["env"][0]["valueFrom"]["secretKeyRef"]


def public(objects, index=0):
    return one(objects, "NetworkPolicy", "workers")["spec"]["egress"][2]["to"][index]["ipBlock"]


@pytest.mark.parametrize(("told", "break_it"), BREAKS)
def test_the_rules_refuse_broken_objects(base, told, break_it):
    broken = copy.deepcopy(base)
    break_it(broken)
    assert any(told in text for text in check(broken))


def test_an_ingress_without_a_service_is_refused(example):
    broken = copy.deepcopy(example)
    rule = one(broken, "Ingress", "ado")["spec"]["rules"][0]
    rule["http"]["paths"][0]["backend"]["service"]["port"]["name"] = "web"
    assert any("which Service ado-api has not" in text for text in check(broken))


def test_probes_use_paths_that_the_application_serves(objects):
    answered = healthz.paths | readyz_route(Readiness()).paths
    probes = container(objects, "ado-api")
    asked = {probes[kind]["httpGet"]["path"] for kind in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert asked == answered


@pytest.mark.parametrize(
    ("name", "kinds"),
    [("ado-api", [AppSettings]), ("ado-spawner", [SpawnerSettings, KubernetesSettings]), ("ado-migrate", [])],
)
def test_every_variable_is_a_setting_that_accepts_its_value(objects, name, kinds):
    variables = environment(objects, name)
    known = {f"ADO_{field.upper()}" for kind in kinds for field in kind.__dataclass_fields__}
    assert variables.keys() <= known | {"ADO_DSN"}
    for kind in kinds:
        read(kind, variables)


def test_a_replica_has_enough_time_to_drain(objects):
    spec = pod(objects, "ado-api")
    drain = read(AppSettings, environment(objects, "ado-api")).drain_seconds
    assert grace_needed(spec) >= 5
    assert spec["terminationGracePeriodSeconds"] >= grace_needed(spec) + drain + 5


def test_two_replicas_stay_available_during_a_rollout(objects):
    for name in ("ado-api", "ado-spawner"):
        assert one(objects, "Deployment", name)["spec"]["replicas"] >= 2
    assert one(objects, "Deployment", "ado-api")["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_images_are_this_release_and_one_for_all(objects):
    images = {each["image"] for item in objects if pod_of(item) for each in containers_of(pod_of(item))}
    assert len(images) == 1
    worker = environment(objects, "ado-spawner")["ADO_POD_IMAGE"]
    assert {image.rpartition(":")[2] for image in (*images, worker)} == {RELEASE}


def rendered_release(directory, version, overlay):
    """Render what a release of this version would be: the sources name the version, and so do the copies."""
    shutil.copytree(DEPLOY / "kubernetes", directory / "kubernetes")
    shutil.copytree(DEPLOY / "overlays", directory / "overlays")
    for file in directory.rglob("*.yaml"):
        text = file.read_text().replace(RELEASE, version)
        file.write_text(text.replace(RELEASE.replace(".", "-"), version.replace(".", "-")))
    mine = directory / "overlays" / "example"
    shutil.copy(mine / "database.env.example", mine / "database.env")
    return rendered(mine if overlay else directory / "kubernetes")


@pytest.mark.parametrize("overlay", [False, True], ids=["base", "example"])
def test_a_manifest_of_a_new_release_is_accepted(tmp_path, overlay):
    old = rendered_release(tmp_path / "old", RELEASE, overlay)
    new = rendered_release(tmp_path / "new", "7.8.9", overlay)
    assert {image for item in new if pod_of(item) for image in images_of(item)} != {
        image for item in old if pod_of(item) for image in images_of(item)
    }
    assert list(refused_changes(old, new)) == []
    again = copy.deepcopy(new)
    one(again, "Job", "ado-migrate")["spec"]["template"]["spec"]["containers"][0]["image"] = "other:1"
    assert ["spec.template: field is immutable" in text for text in refused_changes(new, again)] == [True]


def images_of(item):
    return [each["image"] for each in containers_of(pod_of(item))]


def test_the_manifests_hold_no_secret(base):
    assert not [item for item in base if item["kind"] == "Secret"]
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "-C", ROOT, "check-ignore", "deploy/overlays/example/database.env"],
        capture_output=True, check=False,
    )  # fmt: skip
    assert listed.returncode == 0


def test_only_the_spawner_has_a_token_of_the_cluster(objects):
    mounted = {
        item["metadata"]["name"] for item in objects if (spec := pod_of(item)) and spec["automountServiceAccountToken"]
    }
    assert mounted == {"ado-spawner"}


def test_both_namespaces_refuse_what_is_not_restricted(objects):
    spaces = [item["metadata"]["labels"] for item in objects if item["kind"] == "Namespace"]
    assert [labels["pod-security.kubernetes.io/enforce"] for labels in spaces] == ["restricted"] * 2


NAMESPACES = {name: {"kubernetes.io/metadata.name": name} for name in ("ado", "ado-workers", "kube-system", "other")}
DNS = ("kube-system", {"k8s-app": "kube-dns"})
API = ("ado", {"app.kubernetes.io/name": "ado", "app.kubernetes.io/component": "api"})
POSTGRES = ("other", {"app": "postgres"})


@pytest.mark.parametrize(
    ("component", "target", "port", "may"),
    [
        ("worker", DNS, ("UDP", 53), True),
        ("worker", API, ("TCP", 7421), True),
        ("worker", "93.184.216.34", ("TCP", 443), True),
        ("worker", "2606:4700::1111", ("TCP", 443), True),
        ("worker", POSTGRES, ("TCP", 5432), False),
        ("worker", API, ("TCP", 22), False),
        ("worker", "169.254.169.254", ("TCP", 80), False),
        ("worker", "fd00:ec2::254", ("TCP", 80), False),
        ("worker", "::ffff:10.0.0.1", ("TCP", 80), False),
        ("worker", "10.96.0.1", ("TCP", 443), False),
        ("worker", "172.20.0.1", ("TCP", 443), False),
        ("worker", "192.168.1.1", ("TCP", 443), False),
        ("worker", "100.100.100.200", ("TCP", 80), False),
        ("worker", "127.0.0.1", ("TCP", 80), False),
        ("api", DNS, ("TCP", 53), True),
        ("api", POSTGRES, ("TCP", 5432), True),
        ("api", "93.184.216.34", ("TCP", 443), False),
        ("spawner", POSTGRES, ("TCP", 5432), True),
        ("spawner", "10.96.0.1", ("TCP", 443), True),
        ("spawner", "93.184.216.34", ("TCP", 80), False),
        ("migrate", POSTGRES, ("TCP", 5432), True),
        ("migrate", "10.96.0.1", ("TCP", 443), False),
    ],
)
def test_network_policies_allow_only_the_known_connections(base, component, target, port, may):
    namespace = "ado-workers" if component == "worker" else "ado"
    policies = [i for i in base if i["kind"] == "NetworkPolicy" and i["metadata"]["namespace"] == namespace]
    labels = {"app.kubernetes.io/name": "ado", "app.kubernetes.io/component": component}
    assert reaches(policies, labels, NAMESPACES, target, port) is may


def test_the_example_ingress_and_the_example_nginx_agree(example):
    notes = one(example, "Ingress", "ado")["metadata"]["annotations"]
    nginx = (DEPLOY / "proxy" / "nginx.conf").read_text()
    settings = {
        "proxy-read-timeout": "proxy_read_timeout {}s;",
        "proxy-send-timeout": "proxy_send_timeout {}s;",
        "proxy-connect-timeout": "proxy_connect_timeout {}s;",
        "proxy-buffering": "proxy_buffering {};",
        "proxy-request-buffering": "proxy_request_buffering {};",
        "proxy-body-size": "client_max_body_size {};",
        "proxy-next-upstream": "proxy_next_upstream {};",
    }
    for name, directive in settings.items():
        assert directive.format(notes[f"nginx.ingress.kubernetes.io/{name}"]) in nginx
