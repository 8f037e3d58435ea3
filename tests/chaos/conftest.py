"""How large the chaos is: ``ADO_CHAOS_TASKS=200 ADO_CHAOS_SEEDS=7,8`` chooses another one than the short form."""

import os


def tasks():
    """Return how many tasks run."""
    return int(os.environ.get("ADO_CHAOS_TASKS", "40"))


def kill_every():
    """Return after how many finished jobs something is killed; the short form is dense, to kill one of each kind."""
    return int(os.environ.get("ADO_CHAOS_EVERY", "20" if tasks() > 100 else "8"))


def pytest_generate_tests(metafunc):
    if "chaos_seed" in metafunc.fixturenames:
        metafunc.parametrize("chaos_seed", [int(seed) for seed in os.environ.get("ADO_CHAOS_SEEDS", "1").split(",")])
    if "task_count" in metafunc.fixturenames:
        metafunc.parametrize(("task_count", "every"), [(tasks(), kill_every())])
