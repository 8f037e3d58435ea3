"""The laptop's containers: a file that holds together, made of the images and settings that there are."""

import re

import pytest
import yaml
from support.balancer import EXAMPLES, REPLICAS
from support.dockerfile import parse
from support.rendering import DEPLOY, ROOT

from app.settings import AppSettings, SpawnerSettings, read

FILE = (DEPLOY / "compose.yaml").read_text()
SERVICES = yaml.safe_load(FILE)["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("ado-")}


def test_it_fits_the_compose_specification():
    spec = pytest.importorskip("compose_spec", reason="pip install compose-spec", exc_type=ImportError)
    wanted = {name: value for name, value in yaml.safe_load(FILE).items() if not name.startswith("x-")}
    spec.ComposeSpecification.model_validate(wanted)
    known = {field.alias or name for name, field in spec.Service.model_fields.items()}
    assert {member for service in SERVICES.values() for member in service} <= known


def test_every_image_is_pinned_and_ours_are_built_here():
    for service in SERVICES.values():
        assert re.fullmatch(r"[a-z-]+:\d+\.\d+(\.\d+)?(-[a-z]+)?(@sha256:[0-9a-f]{64})?", service["image"])
    stages = parse((DEPLOY / "Dockerfile").read_text())
    for service in OURS.values():
        assert service["image"].split(":")[0] == f"ado-{service['build']['target']}"
        assert service["build"]["target"] in stages
        assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).resolve().is_file()
        assert (DEPLOY / service["build"]["context"]).resolve() == ROOT


@pytest.mark.parametrize(
    ("command", "kind"), [("api", AppSettings), ("spawner", SpawnerSettings)], ids=["api", "spawner"]
)
def test_every_variable_is_a_setting(command, kind):
    known = {f"ADO_{field.upper()}" for field in kind.__dataclass_fields__}
    chosen = [service for service in OURS.values() if service["command"][0] == command]
    assert chosen
    for service in chosen:
        assert service["environment"].keys() <= known
        read(kind, service["environment"])


def test_nothing_is_reached_from_outside_and_no_password_stands_here():
    assert [port for service in SERVICES.values() for port in service.get("ports", [])] == ["127.0.0.1:7420:7420"]
    assert re.findall(r"PASSWORD: (?!\$\{ADO_POSTGRES_PASSWORD:\?)", FILE) == []
    assert re.findall(r"postgresql://ado:(?!\$\{ADO_POSTGRES_PASSWORD:\?)", FILE) == []


def test_the_proxy_has_the_example_configuration_and_its_replicas():
    mounted = SERVICES["proxy"]["volumes"][0].split(":")[0]
    assert (DEPLOY / mounted).resolve() == EXAMPLES / "haproxy.cfg"
    assert {name.split(":")[0] for name in REPLICAS} == {
        name for name, service in OURS.items() if service["command"] == ["api"]
    }


def test_nothing_starts_before_what_it_needs():
    for service in SERVICES.values():
        for name, how in service.get("depends_on", {}).items():
            assert name in SERVICES
            assert how["condition"] != "service_healthy" or "healthcheck" in SERVICES[name]
    assert SERVICES["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in ("api-1", "api-2", "spawner"):
        assert SERVICES[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_a_replica_has_the_time_to_drain():
    grace = float(SERVICES["api-1"]["stop_grace_period"].rstrip("s"))
    assert grace >= read(AppSettings, SERVICES["api-1"]["environment"]).drain_seconds + 5
