"""Where a spawner starts workers: processes of this machine, or pods of a Kubernetes cluster."""
