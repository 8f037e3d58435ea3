"""What a call of the client sends."""

from types import MappingProxyType

from app.client.calls import named
from app.client.models import Resources


def test_members_have_the_names_of_the_wire_and_plain_values():
    resources = Resources(cpu=1.5)
    sent = named(
        label_names=("a", "b"), env=MappingProxyType({"A_B": "c"}), resources=resources, status="x_y", job=None
    )
    assert sent == {
        "labelNames": ["a", "b"], "env": {"A_B": "c"}, "resources": {"cpu": 1.5, "memory": 0, "gpu": 0},
        "status": "x_y", "job": None,
    }  # fmt: skip
