"""The options of ``ado run`` that size and shape what a job runs in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from cli.errors import usage
from cli.name_values import pair

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class PodOptions:
    """What a job asks for."""

    cpu: float | None = None
    """Cores that each job needs."""
    memory: str | None = None
    """Memory that each job needs: 512M, 4G; also 4Gi."""
    gpu: float | None = None
    """GPUs that each job needs."""
    image: str | None = None
    """Image of the pod, where the server allows it; it must have ado on its PATH."""
    network: Literal["all", "none"] | None = None
    """With none the job has no network but loopback, on a worker that can do that; ado kv does not work then."""
    node_selector: Annotated[list[str] | None, Parameter(negative=())] = None
    """NAME=VALUE that the pod's node must have as a label; may be given several times."""

    @property
    def any(self) -> bool:
        """Whether something is asked for."""
        return self != PodOptions()

    def wish(self) -> dict[str, Any]:
        """Return the members of the input of tasks.create."""
        resources = {"cpu": self.cpu, "memory": _bytes(self.memory) if self.memory else None, "gpu": self.gpu}
        labels = dict(pair(entry, "--node-selector") for entry in self.node_selector or [])
        pod = {name: value for name, value in (("image", self.image), ("nodeSelector", labels)) if value}
        asked = {name: value for name, value in resources.items() if value is not None}
        network = {"network": self.network} if self.network else {}
        return {"resources": asked} | ({"pod": pod} if pod else {}) | network


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)(?:i?B?)", text)
    if match is None:
        raise usage(f"--memory {text}: this is no amount of memory", "write it as 512M or 4G")
    return int(float(match[1]) * _UNITS[match[2]])
