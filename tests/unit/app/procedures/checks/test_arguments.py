"""What a task may ask of its pods."""

import pytest

from app.procedures.checks.arguments import Pod, check_pod, pod_members
from app.rpc.errors import ProcedureError
from app.settings import AppSettings
from cli.errors import CliError
from cli.run_options import PodOptions

SETTINGS = AppSettings(dsn="x", task_images=("registry.example/team/*", "node:22"), task_node_labels=("zone",))


@pytest.mark.parametrize("image", ["registry.example/team/a:1", "node:22"])
def test_an_image_that_the_operator_allows_is_taken(image):
    check_pod(SETTINGS, Pod(image=image, node_selector={"zone": "a"}))


@pytest.mark.parametrize("pod", [Pod(image="node:221"), Pod(image="evil/team/a:1"), Pod(node_selector={"host": "a"})])
def test_anything_else_is_refused_with_what_is_allowed(pod):
    with pytest.raises(ProcedureError) as caught:
        check_pod(SETTINGS, pod)
    assert (caught.value.code, caught.value.reason) == ("FORBIDDEN", "not_allowed")
    with pytest.raises(ProcedureError, match="allowed: none"):
        check_pod(AppSettings(dsn="x"), pod)


def test_a_pod_that_chooses_nothing_is_none():
    assert pod_members(None) is pod_members(Pod()) is None
    assert pod_members(Pod(node_selector={"zone": "a"})) == {"nodeSelector": {"zone": "a"}}


def test_options_become_members_of_the_call():
    assert PodOptions().members() == {"resources": {}}
    assert PodOptions(cpu=0.5, memory="1.5G", gpu=1, image="i", node_selector=["a=b"]).members() == {
        "resources": {"cpu": 0.5, "memory": 3 * 2**29, "gpu": 1},
        "pod": {"image": "i", "nodeSelector": {"a": "b"}},
    }


@pytest.mark.parametrize(("text", "amount"), [("512M", 2**29), ("4Gi", 2**32), ("1024", 1024), ("2KiB", 2048)])
def test_memory_is_written_as_people_write_it(text, amount):
    assert PodOptions(memory=text).members()["resources"] == {"memory": amount}


@pytest.mark.parametrize("text", ["lots", "4 G", "-1G", "G", "1Q"])
def test_what_is_no_memory_is_refused(text):
    with pytest.raises(CliError, match="no amount of memory"):
        PodOptions(memory=text).members()
