"""Settings of a spawner that starts pods: one frozen record; each field is ``ADO_`` and its name in capitals."""

from __future__ import annotations

from dataclasses import dataclass

from app.core.settings import SettingsError


@dataclass(frozen=True, slots=True)
class KubernetesSettings:
    """What ``ado spawner --backend kubernetes`` runs with, besides what every spawner reads."""

    namespace: str = ""
    """Namespace of the pods; default: that of the spawner's service account or kubeconfig, else `default`."""
    pod_image: str = ""
    """Image of the worker's container, unless the template names one; it must have `ado` on its PATH."""
    pod_template: str = ""
    """YAML file with what is merged over the built-in pod: `base`, and `capabilities` by name."""
    pod_cpu: float = 1.0
    """Cores of a pod whose job asks for none; request and limit."""
    pod_cpu_limit: float = 0.0
    """Cores that each worker may use while others leave them free, where that is more than its pod asks for."""
    pod_memory: int = 2 * 1024**3
    """Bytes of memory of a pod whose job asks for none; request and limit."""
    pod_gpu_resource: str = "nvidia.com/gpu"
    """Name under which the cluster offers GPUs."""
    pod_stop_seconds: float = 10.0
    """How long a running job may finish after its pod was asked to end; then it is handed back."""
    pod_retry_seconds: float = 30.0
    """After so long another spawner carries out what one has begun; longest wait for the next try after a refusal."""
    image_pull_seconds: float = 30.0
    """How long an image may fail to be pulled before the job fails."""
    pending_seconds: float = 900.0
    """How long a pod may stay that can never run as things are, or not start, before its job fails."""
    kube_qps: float = 50.0
    """Requests a second to the Kubernetes API, of each spawner."""
    kube_burst: int = 100
    """Requests to the Kubernetes API that may come at once after a quiet while."""
    kube_in_flight: int = 25
    """Pods that are being made or removed at once."""
    kube_request_seconds: float = 15.0
    """How long one request to the Kubernetes API may take."""
    watch_seconds: float = 30.0
    """Length of one watch; one that hears nothing for longer is cut and begun again."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.kube_qps <= 0 or self.kube_burst < 1 or self.kube_in_flight < 1:
            raise SettingsError("ADO_KUBE_QPS, ADO_KUBE_BURST and ADO_KUBE_IN_FLIGHT must be above 0")
        if self.pod_cpu_limit < 0:
            raise SettingsError("ADO_POD_CPU_LIMIT must be 0 or more")
        if self.pod_cpu <= 0 or self.pod_memory <= 0:
            raise SettingsError("ADO_POD_CPU and ADO_POD_MEMORY must be above 0: resources are always set")
