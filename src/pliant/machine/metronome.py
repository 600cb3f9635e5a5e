"""Makes turns short: a thousand beats a second on each CPU that hosts are kept on. A program of its own.

    python3 -I -S metronome.py GROUP SIGNAL CPU...

The kernel looks at who had his turn, and whether a host's quota is used up, at its own tick, mostly every 4 ms. A host
of 0.2 core that may use 2 ms of each 10 then runs for 4 ms and stands still for 16: one that wakes beside four busy
processes waited 75 to 95 ms, where on a machine of a whole core it waits for 3. Whenever something of higher priority
runs for a moment, the kernel looks as well; with a beat of 1 ms it waited 25 ms, and nodes had their due within 4 % in
every half second, not 15. It takes 2 to 3 % of a CPU (2 vCPUs, AMD EPYC, kernel 6.18).

How late its beats come tells for how long a CPU was withheld: by a hypervisor whose other guests run on it, or by a
program of higher priority, and from nothing else. The sum, in ns, is in the file SIGNAL-CPU.

It beats while the file SIGNAL is there, and ends when the directory of that is gone. GROUP is the file of the control
group in which processes may have real-time priority: with CONFIG_RT_GROUP_SCHED only the root has it. Without that
priority there is no beat, and the program ends with status 1.
"""

from __future__ import annotations

import os
import sys
import time

EVERY_S = 0.001
_LOOK_S = 0.02
"""How often it looks whether it is to beat, and tells how late it was."""
PROMPT_NS = 100_000
"""What a beat is late by on a machine of its own (5 to 80 us, a vCPU; kernel 6.18) does not count."""


def beat(cpu: int, signal: str) -> None:
    """Run for a moment on a CPU, again and again."""
    os.sched_setaffinity(0, {cpu})
    sleep, exists, directory = time.sleep, os.path.exists, os.path.dirname(signal)
    every_s, beats, now_ns = EVERY_S, range(round(_LOOK_S / EVERY_S)), time.monotonic_ns
    prompt_ns = round(EVERY_S * 1e9) + PROMPT_NS
    late_ns = 0
    told = os.open(f"{signal}-{cpu}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    os.pwrite(told, b"0", 0)
    while exists(directory):
        while exists(signal):
            last_ns = now_ns()
            for _ in beats:
                sleep(every_s)
                last_ns, took_ns = (now := now_ns()), now - last_ns
                if took_ns > prompt_ns:
                    late_ns += took_ns - prompt_ns
            os.pwrite(told, b"%d" % late_ns, 0)
        sleep(_LOOK_S)


def main(group: str, signal: str, *cpus: str) -> int:
    """A process for each CPU."""
    try:
        with open(group, "w", encoding="utf-8") as file:
            file.write(str(os.getpid()))
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError as error:
        print(f"no beat: {error}", file=sys.stderr)
        return 1
    for cpu in cpus[1:]:
        if os.fork() == 0:
            beat(int(cpu), signal)
            return 0
    beat(int(cpus[0]), signal)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
