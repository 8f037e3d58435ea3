"""The edge to a Kubernetes API: the only module that imports the official client, and it does so late.

Access: inside a cluster the service account's token, outside ``KUBECONFIG``. What it calls, all in one namespace, is
``pods``: create, get, list, watch, delete, and ``secrets``: create. A Secret is owned by its pod and goes with it.

What it makes, for each decision: a pod ``ado-task-123-2-d57`` (warm: ``ado-warm-d58``) with the labels
``app.kubernetes.io/name=ado``, ``app.kubernetes.io/component=worker``, ``app.kubernetes.io/managed-by=ado-spawner``,
``ado/installation``, ``ado/decision`` and, for a job's pod, ``ado/task`` and ``ado/job``. Its container ``worker``
runs ``ado worker`` and is told everything else by ``ADO_*`` variables; the token is the file
``/var/run/secrets/ado/token``, from the Secret of the pod's own name; ``/work`` and ``/tmp`` are emptyDirs and the
root is read-only. The template is wherever ``ADO_POD_TEMPLATE`` points.
"""
