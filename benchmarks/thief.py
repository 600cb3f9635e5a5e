"""A neighbour: takes a share of every CPU, in bursts of milliseconds, before anybody else gets it.

    python -m benchmarks.thief 10 [--seconds 60]

takes 10 % of each CPU, at real-time priority, in bursts of 1 to 5 ms at random times, as a hypervisor with other guests
does. It needs root, and shares the kernel's limit on real-time processes (mostly 95 % of a CPU).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

SHORTEST_S, LONGEST_S = 0.001, 0.005
"""Of a burst; Linux as a hypervisor gives a guest such slices."""
_PROGRAM = f"""
import os, random, sys, time
cpu, share = int(sys.argv[1]), float(sys.argv[2])
os.sched_setaffinity(0, {{cpu}})
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(2))
chance = random.Random(cpu)
while os.getppid() == int(sys.argv[3]):
    took = chance.uniform({SHORTEST_S}, {LONGEST_S})
    end = time.monotonic() + took
    while time.monotonic() < end:
        pass
    time.sleep(min(chance.expovariate(1 / (took / share - took)), 1.0))
"""


@contextlib.contextmanager
def thieves(share: float) -> Iterator[None]:
    """Take this part of each CPU that this process may use until the end of the block; nothing if it is 0."""
    cpus: Sequence[int] = sorted(os.sched_getaffinity(0)) if share else ()
    argv = [sys.executable, "-I", "-S", "-c", _PROGRAM]
    processes = [subprocess.Popen([*argv, str(cpu), str(share), str(os.getpid())]) for cpu in cpus]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()


def main() -> None:
    """Take until the time is over or it is told to end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("percent", type=float, help="of each CPU")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    asked = parser.parse_args()
    if not 0 < asked.percent < 100:
        parser.error("percent is not between 0 and 100")
    end = time.monotonic() + asked.seconds
    with thieves(asked.percent / 100), contextlib.suppress(KeyboardInterrupt):
        while time.monotonic() < end:
            time.sleep(min(1.0, end - time.monotonic()))


if __name__ == "__main__":
    main()
