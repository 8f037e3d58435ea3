"""Capabilities that both replicas and workers know by name; in a module that both may import."""

from __future__ import annotations

from app.core import approvals

STDIN = "input:stdin"
"""The worker can feed a job's stdin; a task with ``stdin: true`` requires it. All but workers of release 0.1 can."""
CHECKS = "checks:commands"
"""The worker runs a task's setup and checks; a task with any requires it, because an older worker would ignore them."""
BROUGHT = "workspace:brought"
"""The worker lays out the ignored files that a task brings; such a task requires it."""
BUDGETS = "budget:limits"
"""The worker keeps to a task's budget; a task with one requires it, because an older worker would not."""
FOLLOWS_REF = "workspace:ref"
"""The worker starts jobs from the newest commit of a remote's branch; a task that names no commit requires it."""
OF_RELEASE = (STDIN, CHECKS, BROUGHT, BUDGETS, FOLLOWS_REF, *approvals.CAPABILITIES)
"""What every worker of this release offers."""
NO_NETWORK = "network:none"
"""The worker can run jobs without a network; a task with ``network: none`` requires it."""
