"""Putting a spawner of pods together from its settings, and checking first that every pod it may make is one."""

from __future__ import annotations

from pathlib import Path

from app.core.capabilities import OF_RELEASE
from app.core.settings import SettingsError, read
from app.spawner.backends.kubernetes import Cluster
from app.spawner.backends.pod_diagnosis import PodTimeouts
from app.spawner.backends.pod_watch import PodWatch
from app.spawner.backends.podspec import PodFrame, Template, pod_manifest, read_template, samples
from app.spawner.backends.rate_limit import TokenBucket
from app.spawner.backends.settings import KubernetesSettings
from app.spawner.heartbeat import SpawnerHeartbeat
from app.spawner.pod_plan import PodLimits
from app.spawner.pod_spawner import PodSpawner, PodSpawnerTiming
from app.spawner.settings import SpawnerSettings
from db.model import ResourceAmounts
from db.pods import PodDatabase
from db.sync_database import SyncPool


def pod_spawner(settings: SpawnerSettings, pool: SyncPool) -> PodSpawner:
    """Return the spawner. Raises SettingsError when the template or the access to the cluster is no good."""
    kube = read(KubernetesSettings)
    bucket = TokenBucket(kube.kube_qps, kube.kube_burst)
    cluster = Cluster(
        kube.namespace, bucket, request_seconds=kube.kube_request_seconds, connections=kube.kube_in_flight + 1
    )
    database = PodDatabase(pool, cluster.namespace)
    frame = PodFrame(
        namespace=cluster.namespace,
        installation=database.installation(),
        urls=settings.url,
        image=kube.pod_image,
        gpu_resource=kube.pod_gpu_resource,
        stop_seconds=kube.pod_stop_seconds,
        template=_template(kube.pod_template),
        cpu_limit=kube.pod_cpu_limit,
    )
    for sample in samples(frame, settings.worker_capabilities):
        cluster.check(pod_manifest(frame, sample))
    return PodSpawner(
        database,
        cluster,
        PodWatch(cluster, frame.selector, seconds=kube.watch_seconds),
        frame,
        offered=frozenset((*settings.worker_capabilities, *OF_RELEASE)),
        limits=PodLimits(settings.max_workers, ResourceAmounts(kube.pod_cpu, kube.pod_memory), settings.idle_seconds),
        timeouts=PodTimeouts(kube.image_pull_seconds, kube.pending_seconds),
        timing=PodSpawnerTiming(settings.spawner_seconds, kube.pod_retry_seconds, kube.kube_in_flight),
        heartbeat=SpawnerHeartbeat.of(pool, "kubernetes", settings.max_workers),
    )


def _template(path: str) -> Template:
    if not path:
        return Template()
    try:
        return read_template(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the pod template cannot be read: {error}") from error
