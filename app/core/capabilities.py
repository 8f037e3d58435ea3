"""Names of capabilities that replicas and workers both know."""

STDIN = "input:stdin"
"""That a worker can feed a job's stdin; a task with ``stdin: true`` requires it."""
NO_NETWORK = "network:none"
"""That a worker can run jobs without a network; a task with ``network: none`` requires it."""
