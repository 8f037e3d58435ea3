"""A Kubernetes API of the tests' own on loopback, with a kubelet that runs containers as processes of this machine."""
