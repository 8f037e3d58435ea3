"""Which changes of an existing object the API server refuses, as ``kubectl apply`` of a new release would meet them."""

_FIXED = {
    "Job": (("spec", "template"), ("spec", "selector"), ("spec", "completions"), ("spec", "completionMode")),
    "Deployment": (("spec", "selector"),),
    "StatefulSet": (("spec", "selector"), ("spec", "serviceName"), ("spec", "volumeClaimTemplates")),
    "DaemonSet": (("spec", "selector"),),
    "RoleBinding": (("roleRef",),),
    "ClusterRoleBinding": (("roleRef",),),
    "Service": (("spec", "clusterIP"),),
    "PersistentVolumeClaim": (("spec", "storageClassName"), ("spec", "accessModes"), ("spec", "volumeName")),
    "StorageClass": (("provisioner",), ("parameters",)),
}


def identity(item):
    """Return what makes two objects the same one."""
    return item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]


def _at(item, path):
    for member in path:
        item = item.get(member, {})
    return item


def refused_changes(old, new):
    """Yield what is refused when the objects ``new`` are applied where ``old`` are."""
    before = {identity(item): item for item in old}
    for item in new:
        known = before.get(identity(item))
        if known is None:
            continue
        fixed = _FIXED.get(item["kind"], ())
        if known.get("immutable"):  # a ConfigMap or Secret
            fixed = (("data",), ("stringData",), ("binaryData",), ("immutable",))
        for path in fixed:
            if _at(known, path) != _at(item, path):
                yield f'{item["kind"]} "{item["metadata"]["name"]}" is invalid: {".".join(path)}: field is immutable'
