"""Writes lines at a rate, each the nanosecond at which it is written: the agent of the latency benchmark."""

import os
import sys
import time

WARM_NANOSECONDS = 1_000_000_000


def main(rate: float, seconds: float) -> None:
    """Write ``rate`` lines a second, each with a write of its own."""
    began = time.monotonic()
    written = 0
    while (passed := time.monotonic() - began) < seconds:
        due = int(passed * rate)
        while written < due:
            os.write(1, b"%d\n" % time.time_ns())
            written += 1
        time.sleep(max(0.0005, (written + 1) / rate - (time.monotonic() - began)))


if __name__ == "__main__":
    main(float(sys.argv[1]), float(sys.argv[2]))
