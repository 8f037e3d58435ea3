"""The containers of a team: a file that holds together, made of the images and settings that there are."""

import re
import subprocess
from ipaddress import ip_address, ip_network

import pytest
import yaml
from support.balancer import EXAMPLES, REPLICAS
from support.dockerfile import parse
from support.rendering import DEPLOY, ROOT

from app.core.settings import read
from app.settings import AppSettings
from worker.settings import WorkerSettings

FILE = (DEPLOY / "compose.yaml").read_text()
SERVICES, NETWORKS, SECRETS = (yaml.safe_load(FILE)[name] for name in ("services", "networks", "secrets"))
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("ado-")}


def test_the_file_fits_the_compose_specification():
    spec = pytest.importorskip("compose_spec", reason="pip install compose-spec", exc_type=ImportError)
    wanted = {name: value for name, value in yaml.safe_load(FILE).items() if not name.startswith("x-")}
    spec.ComposeSpecification.model_validate(wanted)
    known = {field.alias or name for name, field in spec.Service.model_fields.items()}
    assert {member for service in SERVICES.values() for member in service} <= known


def test_every_foreign_image_is_pinned_and_own_images_are_built():
    for service in SERVICES.values():
        assert re.fullmatch(r"[a-z-]+:\d+\.\d+(\.\d+)?(-[a-z]+)?(@sha256:[0-9a-f]{64})?", service["image"])
    stages = parse((DEPLOY / "Dockerfile").read_text())
    for service in OURS.values():
        assert service["image"].split(":")[0] == f"ado-{service['build']['target']}"
        assert service["build"]["target"] in stages
        assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).resolve().is_file()
        assert (DEPLOY / service["build"]["context"]).resolve() == ROOT


@pytest.mark.parametrize(("command", "kind"), [("api", AppSettings), ("worker", WorkerSettings)], ids=["api", "worker"])
def test_every_variable_is_a_setting(command, kind):
    known = {f"ADO_{field.upper()}" for field in kind.__dataclass_fields__}
    chosen = [service for service in OURS.values() if service["command"][0] == command]
    assert chosen
    for service in chosen:
        assert service["environment"].keys() <= known
    if kind is AppSettings:
        read(kind, {"ADO_DSN": "postgresql://", **service["environment"]})


def test_nothing_but_tls_is_reached_from_outside():
    assert {name: service["ports"] for name, service in SERVICES.items() if "ports" in service} == {
        "proxy": ["443:7420"]
    }
    assert NETWORKS["database"] == {"internal": True}
    assert {name for name, service in SERVICES.items() if "database" in service["networks"]} == {
        "postgres", "backup", "migrate", "api-1", "api-2",
    }  # fmt: skip


def test_the_compose_file_holds_no_password_and_gives_it_only_to_services_that_need_it():
    for name, secret in SECRETS.items():
        assert secret == {"file": f"./secrets/{name}"}
    assert "deploy/secrets/" in (ROOT / ".gitignore").read_text().splitlines()
    assert {name: service["secrets"] for name, service in SERVICES.items()} == {
        "postgres": ["owner-password", "app-password"],
        "backup": ["owner-password"],
        "migrate": ["owner-password"],
        "api-1": ["app-password"],
        "api-2": ["app-password"],
        "proxy": ["tls.pem"],
        "worker": ["worker-token"],
    }


@pytest.mark.parametrize(("name", "role"), [("api-1", "ado_app"), ("migrate", "ado_owner")])
def test_the_password_becomes_part_of_the_dsn(tmp_path, name, role):
    service = OURS[name]
    for secret in service["secrets"]:
        (tmp_path / secret).write_text("0123abcd\n")
    ado = tmp_path / "ado"
    ado.write_text('#!/bin/sh\necho "$ADO_DSN" "$@"\n')
    ado.chmod(0o755)
    words = [word.replace("$$", "$").replace("/run/secrets", str(tmp_path)) for word in service["entrypoint"]]
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run([*words, *service["command"]], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == f"postgresql://{role}:0123abcd@postgres/ado {' '.join(service['command'])}\n"


def test_permanent_services_have_restarts_limits_and_health_checks():
    for name, service in SERVICES.items():
        assert service["restart"] == ("on-failure" if name == "migrate" else "unless-stopped")
        assert {"cpus", "memory"} <= service["deploy"]["resources"]["limits"].keys()
        assert "no-new-privileges:true" in service.get("security_opt", []) or name == "postgres"
    assert {name for name, service in SERVICES.items() if "healthcheck" in service} == {
        "postgres", "api-1", "api-2", "proxy",
    }  # fmt: skip


def test_replicas_trust_the_address_of_the_proxy_and_no_other():
    address = SERVICES["proxy"]["networks"]["front"]["ipv4_address"]
    (pool,) = NETWORKS["front"]["ipam"]["config"]
    assert OURS["api-1"]["environment"]["ADO_TRUSTED_PROXIES"] == address
    assert ip_address(address) in ip_network(pool["subnet"])
    assert ip_address(address) not in ip_network(pool["ip_range"])


def test_the_proxy_has_the_example_configuration_and_its_replicas():
    mounted = SERVICES["proxy"]["volumes"][0].split(":")[0]
    assert (DEPLOY / mounted).resolve() == EXAMPLES / "haproxy.cfg"
    assert {name.split(":")[0] for name in REPLICAS} == {
        name for name, service in OURS.items() if service["command"] == ["api"]
    }


def test_a_service_starts_after_its_dependencies():
    for service in SERVICES.values():
        for name, how in service.get("depends_on", {}).items():
            assert name in SERVICES
            assert how["condition"] != "service_healthy" or "healthcheck" in SERVICES[name]
    assert SERVICES["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in ("api-1", "api-2"):
        assert SERVICES[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_a_replica_has_enough_time_to_drain():
    grace = float(SERVICES["api-1"]["stop_grace_period"].rstrip("s"))
    assert (
        grace >= read(AppSettings, {"ADO_DSN": "postgresql://", **SERVICES["api-1"]["environment"]}).drain_seconds + 5
    )
