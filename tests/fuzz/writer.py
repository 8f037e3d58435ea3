"""The program that a fuzzed job runs: ``python -I -S writer.py PLANS`` writes what the plan of its job index says.

A plan is a list of ``[target, base64]``. The targets are ``stdout``, ``stderr``, ``events`` (the descriptor that the
job is given) and ``others`` (every other descriptor that the job has inherited, whatever it is for).
"""

import base64
import contextlib
import json
import os
import sys
import time

FIRST_DESCRIPTOR, LAST_DESCRIPTOR = 3, 64


def write(fd, data):
    """Write all of the data; a blocked pipe is waited for."""
    while data:
        data = data[os.write(fd, data) :]


def write_to_others(events, data):
    """Write to every other descriptor that is open for writing."""
    for fd in range(FIRST_DESCRIPTOR, LAST_DESCRIPTOR):
        if fd != events:
            with contextlib.suppress(OSError):
                os.write(fd, data[:4096])


def main(path):
    """Carry out the plan of this job."""
    with open(path) as file:  # noqa: PTH123
        plan = json.load(file)[int(os.environ["ADO_JOB_INDEX"])]
    events = int(os.environ["ADO_EVENTS_FD"])
    for target, text in plan["writes"]:
        data = base64.b64decode(text)
        if target == "others":
            write_to_others(events, data)
        else:
            write({"stdout": 1, "stderr": 2, "events": events}[target], data)
    if plan["lingers"]:
        write(1, b"lingers")
        time.sleep(600)  # until it is cancelled
    sys.exit(plan["exit_code"])


if __name__ == "__main__":
    main(sys.argv[1])
