"""Names of capabilities that replicas and workers both know."""

NO_NETWORK = "network:none"
"""That a worker can run jobs without a network; a task with ``network: none`` requires it."""
