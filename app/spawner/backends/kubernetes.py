"""Calls to a Kubernetes API. Only this module imports the official client, and it does so late.

Access: inside a cluster the service account's token, outside ``KUBECONFIG``. What it calls, all in one namespace, is
``pods``: create, get, list, watch, delete, and ``secrets``: create. A Secret is owned by its pod and goes with it.
The client's own retries are off: they sleep inside a call, and only for some verbs. Creating, reading and removing a
pod takes a token of the bucket (``rate_limit``); a 429, or any answer with Retry-After, pauses all of them.

For each decision the spawner creates: a pod ``ado-task-123-2-d57`` (warm: ``ado-warm-d58``) with the labels
``app.kubernetes.io/name=ado``, ``app.kubernetes.io/component=worker``, ``app.kubernetes.io/managed-by=ado-spawner``,
``ado/installation``, ``ado/decision`` and, for a job's pod, ``ado/task`` and ``ado/job``. Its container ``worker``
runs ``ado worker`` and is configured by ``ADO_*`` variables; the token is the file
``/var/run/secrets/ado/token``, from the Secret of the pod's own name; ``/work`` and ``/tmp`` are emptyDirs and the
root is read-only. ``ADO_POD_TEMPLATE`` names the template file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from app.core.settings import SettingsError
from app.spawner.backends.rate_limit import TokenBucket

Manifest = dict[str, Any]
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_CONNECT_SECONDS = 5.0
_UNASKED_PAUSE_SECONDS = 1.0
_PAGE = 500


class ClusterRefused(Exception):
    """The API answered with an error: its status, its own reason and message."""

    def __init__(self, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after


class ClusterUnreachable(Exception):
    """No answer came, or it broke off."""


class Cluster:
    """One namespace of a cluster. Methods raise ClusterRefused and ClusterUnreachable; threads may share it."""

    def __init__(self, namespace: str, bucket: TokenBucket, *, request_seconds: float, connections: int) -> None:
        from kubernetes import client, config  # noqa: PLC0415 - 46 MiB that only this backend needs
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        settings = client.Configuration()
        try:
            if _ACCOUNT.exists() and "KUBECONFIG" not in os.environ:
                config.load_incluster_config(settings)  # type: ignore[no-untyped-call]
            else:
                chosen = os.environ.get("KUBECONFIG")  # the client itself reads it only once, at its import
                config.load_kube_config(chosen, client_configuration=settings)  # type: ignore[no-untyped-call]
                namespace = namespace or _context_namespace(config, chosen)
        except config.ConfigException as error:
            raise SettingsError(f"no access to a cluster: {error}") from error
        settings.retries = False
        settings.connection_pool_maxsize = connections
        self.namespace = namespace or _account_namespace()
        self._client = client.ApiClient(settings)
        self._broken = (HTTPError, client.ApiException, OSError)
        self._bucket = bucket
        self._request_seconds = request_seconds

    def check(self, manifest: Manifest) -> None:
        """Check a pod by the schema. Raises SettingsError with every fault and where it is."""
        from kubernetes.client import V1Pod  # noqa: PLC0415
        from pydantic import ValidationError  # noqa: PLC0415

        try:
            V1Pod.model_validate(manifest)
        except ValidationError as error:
            faults = (f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors())
            raise SettingsError(f"the pod template is no pod: {'; '.join(faults)}") from error

    def create_pod(self, manifest: Manifest) -> Manifest:
        """Create a pod; unknown members are an error."""
        return self._paced("POST", "pods", body=manifest, query={"fieldValidation": "Strict"})

    def create_secret(self, manifest: Manifest) -> Manifest:
        """Create a Secret."""
        return self._paced("POST", "secrets", body=manifest)

    def get_pod(self, name: str) -> Manifest:
        """Return a pod."""
        return self._paced("GET", f"pods/{name}")

    def delete_pod(self, name: str, uid: str, grace_seconds: int | None = None) -> None:
        """Remove the pod that has this uid; 0 seconds of grace removes it although its node does not confirm."""
        body: Manifest = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        if grace_seconds is not None:
            body["gracePeriodSeconds"] = grace_seconds
        self._paced("DELETE", f"pods/{name}", body=body)

    def list_pods(self, selector: str) -> tuple[list[Manifest], str]:
        """Return the pods that match, and the version of the list."""
        pods: list[Manifest] = []
        query = {"labelSelector": selector, "limit": str(_PAGE)}
        while True:
            page = self._call("GET", "pods", query=query)
            pods += page["items"]
            token = page["metadata"].get("continue")
            if not token:
                return pods, page["metadata"]["resourceVersion"]
            query = {**query, "continue": token}

    def watch_pods(self, selector: str, version: str, seconds: float) -> Iterator[tuple[str, Manifest]]:
        """Yield type and pod of each change after a version until the server ends the watch.

        A watch that stays silent for longer than ``seconds`` is cut, because its connection may be half open.
        """
        query = {
            "labelSelector": selector,
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(max(1, round(seconds))),
        }
        response = self._send("GET", "pods", query, None, seconds + _CONNECT_SECONDS)
        raw = response.response
        try:
            self._raise_for(response)
            rest = b""
            for chunk in raw.stream(amt=None):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    event = orjson.loads(line)
                    if event["type"] == "ERROR":
                        raise _refused(event["object"], event["object"].get("code", 500), None)
                    yield event["type"], event["object"]
        except (*self._broken, ValueError, KeyError) as error:
            raise ClusterUnreachable(f"the watch broke off: {type(error).__name__}") from error
        finally:
            raw.close()

    def stop(self) -> None:
        """Let calls that wait for a token give up."""
        self._bucket.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.rest_client.close()

    def _paced(self, method: str, path: str, **options: Any) -> Manifest:
        self._bucket.take()
        try:
            return self._call(method, path, **options)
        except ClusterRefused as error:
            if error.status == 429 or error.retry_after is not None:
                self._bucket.pause(error.retry_after or _UNASKED_PAUSE_SECONDS)
            raise
        except ClusterUnreachable:
            self._bucket.pause(_UNASKED_PAUSE_SECONDS)
            raise

    def _call(
        self, method: str, path: str, *, body: Manifest | None = None, query: Mapping[str, str] | None = None
    ) -> Manifest:
        response = self._send(method, path, query, body, self._request_seconds)
        self._raise_for(response)
        try:
            answer: Manifest = orjson.loads(response.read())
        except (*self._broken, ValueError) as error:
            raise ClusterUnreachable(f"the answer broke off: {type(error).__name__}") from error
        return answer

    def _send(
        self, method: str, path: str, query: Mapping[str, str] | None, body: Manifest | None, seconds: float
    ) -> Any:
        request = self._client.param_serialize(
            method,
            f"/api/v1/namespaces/{self.namespace}/{path}",
            query_params=list((query or {}).items()),
            header_params={"Accept": "application/json", "Content-Type": "application/json"},
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            return self._client.call_api(*request, _request_timeout=(_CONNECT_SECONDS, seconds))
        except self._broken as error:
            raise ClusterUnreachable(f"the cluster does not answer: {type(error).__name__}") from error

    def _raise_for(self, response: Any) -> None:
        if response.status < 400:
            return
        after = response.getheader("Retry-After")
        try:
            raw = response.read()
        except self._broken as error:
            raise ClusterUnreachable(f"the answer broke off: {type(error).__name__}") from error
        try:
            status = orjson.loads(raw)
        except ValueError:  # an overloaded server, or a proxy before it, answers in plain text
            status = {"message": raw.decode("utf-8", "replace").strip()[:500]}
        raise _refused(status, response.status, float(after) if after and after.isdigit() else None)


def _refused(status: Mapping[str, Any], code: int, retry_after: float | None) -> ClusterRefused:
    return ClusterRefused(code, status.get("reason", ""), status.get("message", ""), retry_after)


def _context_namespace(config: Any, file: str | None) -> str:
    _, active = config.list_kube_config_contexts(file)
    return str(active["context"].get("namespace") or "")


def _account_namespace() -> str:
    try:
        return (_ACCOUNT / "namespace").read_text("utf-8").strip()
    except OSError:
        return "default"
