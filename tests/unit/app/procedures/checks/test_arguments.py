"""Checks of a call's arguments, and what a task may choose for its pods."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from app.procedures.checks.arguments import (
    Pod,
    check_json_limit,
    check_limit,
    check_pod,
    decode_base64,
    pod_members,
    refuse_nul,
    since_time,
)
from app.rpc.errors import ProcedureError
from app.settings import AppSettings
from cli.errors import CliError
from cli.run_options import PodOptions

SETTINGS = AppSettings(dsn="x", task_images=("registry.example/team/*", "node:22"), task_node_labels=("zone",))


@pytest.mark.parametrize("image", ["registry.example/team/a:1", "node:22"])
def test_an_allowed_image_is_accepted(image):
    check_pod(SETTINGS, Pod(image=image, node_selector={"zone": "a"}))


@pytest.mark.parametrize("pod", [Pod(image="node:221"), Pod(image="evil/team/a:1"), Pod(node_selector={"host": "a"})])
def test_another_image_is_refused_with_the_allowed_ones(pod):
    with pytest.raises(ProcedureError) as caught:
        check_pod(SETTINGS, pod)
    assert (caught.value.code, caught.value.reason) == ("FORBIDDEN", "not_allowed")
    with pytest.raises(ProcedureError, match="allowed: none"):
        check_pod(AppSettings(dsn="x"), pod)


def test_an_empty_pod_is_none():
    assert pod_members(None) is pod_members(Pod()) is None
    assert pod_members(Pod(node_selector={"zone": "a"})) == {"nodeSelector": {"zone": "a"}}


def test_options_become_members_of_the_call():
    assert PodOptions().members() == {"resources": {}}
    assert PodOptions(cpu=0.5, memory="1.5G", gpu=1, image="i", node_selector=["a=b"]).members() == {
        "resources": {"cpu": 0.5, "memory": 3 * 2**29, "gpu": 1},
        "pod": {"image": "i", "nodeSelector": {"a": "b"}},
    }


@pytest.mark.parametrize(("text", "amount"), [("512M", 2**29), ("4Gi", 2**32), ("1024", 1024), ("2KiB", 2048)])
def test_memory_takes_units(text, amount):
    assert PodOptions(memory=text).members()["resources"] == {"memory": amount}


@pytest.mark.parametrize("text", ["lots", "4 G", "-1G", "G", "1Q"])
def test_an_invalid_amount_of_memory_is_refused(text):
    with pytest.raises(CliError, match="no amount of memory"):
        PodOptions(memory=text).members()


@pytest.mark.parametrize("value", ["a\0", {"a\0": 1}, {"a": ["b", {"c": "\0"}]}])
def test_a_nul_in_any_text_of_a_field_is_refused(value):
    with pytest.raises(ProcedureError, match="labels: a text in it has a NUL"):
        refuse_nul(labels=value)
    refuse_nul(labels={"a": ["b", 1, None]})


def test_a_time_without_a_zone_is_in_utc_and_one_outside_its_range_is_refused():
    assert since_time(None) is None
    assert since_time(datetime(2026, 1, 2)) == datetime(2026, 1, 2, tzinfo=UTC)  # noqa: DTZ001
    earliest = datetime.now(UTC) - timedelta(seconds=60)
    assert earliest <= since_time(60.0) <= datetime.now(UTC) - timedelta(seconds=60)
    ahead = timezone(timedelta(hours=1))
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    for outside in (datetime.min.replace(tzinfo=ahead), first, last):
        with pytest.raises(ProcedureError, match="since: it is outside the years 1 to 9999"):
            since_time(outside)
    assert since_time(last.replace(microsecond=0)) == last.replace(microsecond=0)


@pytest.mark.parametrize("text", ["a", "YQ==YQ", "é", "Y Q=="])
def test_invalid_base64_is_refused(text):
    with pytest.raises(ProcedureError, match="data: it is not base64"):
        decode_base64("data", text)
    assert decode_base64("data", "YQ==") == b"a"


def test_a_size_at_its_limit_passes_and_one_above_names_the_field_and_the_limit():
    check_limit("prompt", 10, 10)
    check_json_limit("labels", "x" * 8, 10)
    for check, value in ((check_limit, 11), (check_json_limit, "x" * 9)):
        with pytest.raises(ProcedureError, match="prompt: 11 is more than the limit of 10") as caught:
            check("prompt", value, 10)
        assert (caught.value.reason, caught.value.data["limit"]) == ("limit_exceeded", 10)
