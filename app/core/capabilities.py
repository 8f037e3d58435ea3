"""Capabilities that both replicas and workers know by name; in a module that both may import."""

STDIN = "input:stdin"
"""The worker can feed a job's stdin; a task with ``stdin: true`` requires it."""
CHECKS = "checks:commands"
"""The worker runs a task's setup and checks; a task with any requires it, because an older worker would ignore them."""
APPROVALS = "approve:modes"
"""The worker runs an agent under the task's approval; a task with one requires it."""
BROUGHT = "workspace:brought"
"""The worker lays out the ignored files that a task brings; such a task requires it."""
OF_RELEASE = (STDIN, CHECKS, APPROVALS, BROUGHT)
"""What every worker of this release offers."""
NO_NETWORK = "network:none"
"""The worker can run jobs without a network; a task with ``network: none`` requires it."""
